"""``python -m training cv``: every patient is tested once, by a network that did not learn him."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cxr.bundles.run import Run
from training.runs.series import Figures, markdown_table, summarise, write_result

CV_NAME = "cross_validation"


class CrossValidation(BaseModel):
    """The content of ``cross_validation.json``.

    ``points`` has the figures of each operating point over the folds.
    """

    model_config = ConfigDict(frozen=True)

    recipe: str
    seed: int
    folds: int
    data_digest: str
    images: tuple[int, ...]
    patients: tuple[int, ...]
    points: dict[str, Figures]


def report_folds(runs: Sequence[Run], out: Path) -> str:
    """Summarise the folds, write cross_validation.json and .md, and give the table.

    Args:
        runs: One for each fold, in order.
        out: Folder.
    """
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
