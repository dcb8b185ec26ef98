"""Where the results page and what it is made of are kept."""

from __future__ import annotations

from benchmarks.child import ROOT

FOLDER = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "results.md"
DOCUMENT = FOLDER / "results.json"
