"""``python -m benchmarks results``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.results.collect import collect, find_runs, with_kept
from benchmarks.results.document import open_results
from benchmarks.results.drawings import draw_heatmaps, mean_heatmaps, write_curves
from benchmarks.results.generated import CURVES, show_generator
from benchmarks.results.kept import DOCUMENT, FOLDER, PAGE
from benchmarks.results.page import render_results
from training.report.page import render_png

HEATMAPS = "heatmaps.png"


def run_results(given: argparse.Namespace) -> Path:
    """Measure, draw and write ``docs/results.md`` with what belongs to it.

    Returns:
        The page.
    """
    runs = find_runs(given.runs)
    kept = open_results(DOCUMENT) if given.keep else None
    FOLDER.mkdir(exist_ok=True)
    heatmaps = None
    if given.data is not None:
        maps = {run.name: mean_heatmaps(path, run, given.data, given.images) for path, run in runs}
        (FOLDER / HEATMAPS).write_bytes(render_png(draw_heatmaps(maps)))
        heatmaps = f"{given.images} internal test images, evenly over the classes"
    generated = None if given.gan is None else show_generator(given.gan, FOLDER)
    results = collect(runs, generated, given.experiment, heatmaps)
    if kept is not None:
        results = with_kept(results, kept)
    drawn = {f"{run.name}.svg" for run in results.runs} | {CURVES}
    for path in FOLDER.glob("*.svg"):
        if path.name not in drawn:
            path.unlink()
    for run in results.runs:
        if run.curves:
            write_curves(run.name, run.curves, FOLDER)
    DOCUMENT.write_text(results.model_dump_json(indent=1) + "\n")
    PAGE.write_text(render_results(results))
    return PAGE
