"""The model card, made from the manifest."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cxr.estimate import format_estimate
from cxr.manifest import Manifest

TEMPLATES_DIR = Path(__file__).parent / "templates"


def render_card(manifest: Manifest, notes: tuple[str, ...]) -> str:
    """Render MODEL_CARD.md.

    Args:
        manifest: Of the bundle.
        notes: What was tried in training, from the run.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES_DIR),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  # Markdown, and every value is our own
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["format_estimate"] = format_estimate
    return environment.get_template("MODEL_CARD.md.j2").render(m=manifest, notes=notes)
