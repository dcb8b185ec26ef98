"""The page of results, its tables made from a run's JSON."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.child import ROOT, MeasureError
from benchmarks.table import render

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- results: written by `python -m benchmarks report`, not by hand -->"
END = "<!-- end of results -->"


def write_report(results: Path, page: Path = PAGE) -> None:
    """Put a run's tables between the marks of a page.

    Raises:
        MeasureError: The page has no such marks.
    """
    page.write_text(insert(page.read_text(), render(json.loads(results.read_text()))))


def insert(page: str, tables: str) -> str:
    """Replace what lies between the marks.

    Raises:
        MeasureError: The marks are missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise MeasureError("the page has no marks to write results between")
    return f"{before}{BEGIN}\n\n{tables.strip()}\n\n{END}{after}"
