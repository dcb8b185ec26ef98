"""The page of results, its tables made from a run's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT, MeasureError
from benchmarks.fleet_page import draw_plots, render_fleet, render_rolling
from benchmarks.gateway.page import render_gateway
from benchmarks.siege.page import render as render_siege
from benchmarks.table import render

PAGE = ROOT / "docs" / "performance.md"
SCALING = ROOT / "docs" / "scaling.md"
SIEGE = ROOT / "docs" / "siege.md"
PLOTS = ROOT / "docs" / "scaling"
BEGIN = "<!-- {what}: written by `python -m benchmarks report`, not by hand -->"
END = "<!-- end of {what} -->"


def write_report(results: Path, page: Path = PAGE) -> None:
    """Put a run's tables between the marks of a page.

    Raises:
        MeasureError: The page has no such marks.
    """
    found = json.loads(results.read_text())
    if found.get("kind") in ("fleet", "rolling"):
        _write_scaling(found)
        return
    if found.get("kind") == "siege":
        SIEGE.write_text(insert(SIEGE.read_text(), render_siege(found), "siege"))
        return
    is_gateway = found.get("kind") == "gateway"
    tables = (render_gateway if is_gateway else render)(found)
    page.write_text(insert(page.read_text(), tables, "gateway" if is_gateway else "results"))


def _write_scaling(found: dict[str, Any]) -> None:
    is_fleet = found["kind"] == "fleet"
    if is_fleet:
        draw_plots(found, PLOTS)
    tables = render_fleet(found) if is_fleet else render_rolling(found)
    SCALING.write_text(insert(SCALING.read_text(), tables, found["kind"]))


def insert(page: str, tables: str, what: str = "results") -> str:
    """Replace what lies between the marks.

    Raises:
        MeasureError: The marks are missing.
    """
    first, last = BEGIN.format(what=what), END.format(what=what)
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise MeasureError("the page has no marks to write results between")
    return f"{before}{first}\n\n{tables.strip()}\n\n{last}{after}"
