"""Runs or evaluations side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cxr.bundles.run import open_run
from cxr.errors import RunError
from cxr.files import new_directory
from cxr.metrics.estimate import Metrics, format_estimate
from training.report.figures import draw_comparison
from training.report.page import render_page, write_figures
from training.runs.evaluate import METRICS_NAME, RunEvaluation

TABLE_NAME = "comparison.md"

DRAWN = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "auroc", "auprc")


@dataclass(frozen=True)
class Column:
    """One run of the comparison."""

    title: str
    metrics: Metrics


def compare_runs(paths: list[Path], part: str, point: str, out: Path | None) -> str:
    """Compare runs by their recorded figures and return a Markdown table.

    ``paths`` are run directories, whose ``part`` is ``val`` or ``test``, or folders of ``training
    evaluate``; RunError for anything else. None for ``out`` writes no comparison.md,
    comparison.html and figure.
    """
    columns = [_column(path, part, point) for path in paths]
    header = ["figure", *(column.title for column in columns)]
    rows = [
        [figure, *(format_estimate(figure, column.metrics[figure]) for column in columns)]
        for figure in columns[0].metrics
    ]
    rows.append(["false negatives against the first", *_reductions(columns)])
    lines = [header, ["---"] * len(header), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    if out is not None:
        subtitle = f"Operating point {point}; part {part} of each run, or the split evaluated."
        values = {
            figure: {c.title: c.metrics[figure].value or 0.0 for c in columns} for figure in DRAWN
        }
        with new_directory(out, TABLE_NAME) as directory:
            urls = write_figures({"comparison": draw_comparison(values, subtitle)}, directory)
            page = render_page(
                "comparison.html.j2", header=header, rows=rows, subtitle=subtitle, figures=urls
            )
            (directory / "comparison.html").write_text(page)
            (directory / TABLE_NAME).write_text(table + "\n")
    return table


def _reductions(columns: list[Column]) -> list[str]:
    first = columns[0].metrics["false_negatives"].value or 0.0
    cells = ["-"]
    for column in columns[1:]:
        value = column.metrics["false_negatives"].value or 0.0
        cells.append(f"{value - first:+.0f} ({(value - first) / first:+.0%})" if first else "-")
    return cells


def _column(path: Path, part: str, point: str) -> Column:
    if (path / METRICS_NAME).is_file():
        try:
            found = RunEvaluation.model_validate_json((path / METRICS_NAME).read_bytes())
        except ValidationError:
            raise RunError(f"{path / METRICS_NAME} is not an evaluation.") from None
        title, points = f"{found.run} {found.version} on {found.split}", found.metrics
    else:
        run = open_run(path)
        title, points = f"{run.name} {run.version} ({path.name})", run.metrics.get(part, {})
    if point not in points:
        raise RunError(f"{path} has no figures at operating point {point!r} for part {part!r}.")
    return Column(title, points[point])
