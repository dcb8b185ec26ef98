"""``python -m training dummy-class``: the effect of a class for ambiguous images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from cxr.bundles.run import Run
from training.runs.series import Figures, figure_of, markdown_table, summarise, write_result

DUMMY_NAME = "dummy_class"


class DummyExperiment(BaseModel):
    """The content of ``dummy_class.json``; ``difference`` is paired by seed."""

    model_config = ConfigDict(frozen=True)

    recipe: str
    share: float
    seeds: tuple[int, ...]
    part: str
    operating_point: str
    images: tuple[int, ...]
    without: Figures
    with_dummy: Figures
    difference: Figures


def report_dummy(without: Sequence[Run], with_dummy: Sequence[Run], share: float, out: Path) -> str:
    """Compare runs of the same seeds, write dummy_class.json and .md, and return the table.

    ``share`` is that of training images counted as ambiguous.
    """
    point = without[0].default_operating_point
    plain, dummy = (summarise(runs, "test", point) for runs in (without, with_dummy))
    difference = {
        name: figure_of(
            [
                None if a is None or b is None else b - a
                for a, b in zip(plain[name].values, dummy[name].values, strict=True)
            ]
        )
        for name in plain
    }
    result = DummyExperiment(
        recipe=without[0].name,
        share=share,
        seeds=tuple(run.provenance.seed for run in without),
        part="test",
        operating_point=point,
        images=tuple(run.provenance.images["test"] for run in without),
        without=plain,
        with_dummy=dummy,
        difference=difference,
    )
    columns = {"without": plain, "with": dummy, "with less without": difference}
    seeds = ", ".join(map(str, result.seeds))
    text = (
        f"# {result.recipe} with and without a dummy class\n\n"
        f"{share:.0%} of the training images, those with the smallest margin in a first pass by "
        "halves, were a class of their own in training; its output is dropped from what ships. "
        f"Seeds {seeds}; each seed divides the patients anew, for both alike. Held-out patients, "
        f"operating point {point}, mean ± standard deviation over seeds.\n\n"
    )
    text += markdown_table(columns)
    write_result(result, text, out, DUMMY_NAME)
    return text
