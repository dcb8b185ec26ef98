"""Self-contained HTML pages with figures and tables."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from pydantic import BaseModel

from cxr.metrics.estimate import format_estimate

TEMPLATES_DIR = Path(__file__).parent / "templates"
DPI = 110


def render_png(figure: Figure) -> bytes:
    """Render a figure to PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def write_figures(figures: dict[str, Figure], directory: Path) -> dict[str, str]:
    """Write each figure as NAME.png and return data URLs by name."""
    urls = {}
    for name, figure in figures.items():
        png = render_png(figure)
        (directory / f"{name}.png").write_bytes(png)
        urls[name] = "data:image/png;base64," + base64.b64encode(png).decode()
    return urls


def render_page(template: str, **values: Any) -> str:
    """Render one of this package's templates. Values are escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR), autoescape=True, undefined=StrictUndefined
    )
    environment.globals["format_estimate"] = format_estimate
    return environment.get_template(template).render(**values)


def json_text(content: BaseModel) -> str:
    """Return the indented JSON of a model, ASCII only, with a final newline."""
    return json.dumps(json.loads(content.model_dump_json()), indent=2) + "\n"
