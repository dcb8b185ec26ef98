"""Several runs of one recipe, with mean and deviation."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cxr.bundles.run import RUN_NAME, Run, open_run
from cxr.errors import RunError
from training.report.page import json_text
from training.runs.job import TrainingJob
from training.runs.train import run_training


class Figure(BaseModel):
    """One figure over several runs; the deviation is that of a sample (n - 1)."""

    model_config = ConfigDict(frozen=True)

    mean: float | None
    deviation: float | None
    values: tuple[float | None, ...]


Figures = dict[str, Figure]


def train_series(jobs: Sequence[TrainingJob]) -> list[Run]:
    """Train the missing runs, resuming where a stopped call was.

    Raises:
        RunError: A run was made by another recipe.
        DataError: The data set is unusable.
    """
    for job in jobs:
        if not (job.out / RUN_NAME).is_file():
            run_training(job)
        elif open_run(job.out).recipe != job.recipe.model_dump(mode="json"):
            raise RunError(f"{job.out} was trained by another recipe. Choose another --out.")
    return [open_run(job.out) for job in jobs]


def summarise(runs: Sequence[Run], part: str, point: str) -> Figures:
    """Return each figure's mean and deviation over runs."""
    tables = [run.metrics[part][point] for run in runs]
    return {name: figure_of([table[name].value for table in tables]) for name in tables[0]}


def figure_of(values: Sequence[float | None]) -> Figure:
    """Return mean and deviation of the defined values."""
    known = [value for value in values if value is not None]
    return Figure(
        mean=statistics.fmean(known) if known else None,
        deviation=statistics.stdev(known) if len(known) > 1 else None,
        values=tuple(values),
    )


def format_figure(figure: Figure) -> str:
    """Return ``0.973 ± 0.004``, or a dash."""
    if figure.mean is None:
        return "-"
    deviation = "" if figure.deviation is None else f" ± {figure.deviation:.3f}"
    return f"{figure.mean:.3f}{deviation}"


def markdown_table(columns: Mapping[str, Figures], each: Sequence[str] = ()) -> str:
    """Return a Markdown table: figures down, titles across.

    ``each`` titles the single values of the first column; empty leaves them out.
    """
    first = next(iter(columns.values()))
    lines = ["| " + " | ".join(("figure", *columns, *each)) + " |"]
    lines.append("|" + " --- |" * (1 + len(columns) + len(each)))
    for name, figure in first.items():
        cells = [format_figure(column[name]) for column in columns.values()]
        cells += ["-" if v is None else f"{v:.3f}" for v in figure.values] if each else []
        lines.append("| " + " | ".join((name, *cells)) + " |")
    return "\n".join(lines)


def write_result(result: BaseModel, markdown: str, out: Path, name: str) -> None:
    """Write ``NAME.json`` and ``NAME.md`` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json_text(result))
    (out / f"{name}.md").write_text(markdown + "\n")


CV_NAME = "cross_validation"


class CrossValidation(BaseModel):
    """The content of ``cross_validation.json``; ``points`` has figures by operating point."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    seed: int
    folds: int
    data_digest: str
    images: tuple[int, ...]
    patients: tuple[int, ...]
    points: dict[str, Figures]


def report_folds(runs: Sequence[Run], out: Path) -> str:
    """Summarise one run per fold, write cross_validation.json and .md, and return the table."""
    first = runs[0]
    result = CrossValidation(
        recipe=first.name,
        seed=first.provenance.seed,
        folds=len(runs),
        data_digest=first.provenance.data_digest,
        images=tuple(run.provenance.images["test"] for run in runs),
        patients=tuple(run.provenance.patients["test"] for run in runs),
        points={
            point.name: summarise(runs, "test", point.name) for point in first.operating_points
        },
    )
    each = [f"fold {number}" for number in range(len(runs))]
    text = (
        f"# {len(runs)} folds of {first.name}\n\n"
        f"{sum(result.images)} images, each tested once; {sum(result.patients)} patients, none in "
        "two folds. Mean and standard deviation over the folds; the deviation is of folds, not of "
        "the mean, and folds share most of what they learn from.\n\n"
    )
    text += "\n\n".join(
        f"Operating point {name}:\n\n" + markdown_table({"mean ± deviation": figures}, each)
        for name, figures in result.points.items()
    )
    write_result(result, text, out, CV_NAME)
    return text
