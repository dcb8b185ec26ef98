"""Scored images, and their figures by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, computed_field

from cxr.bundles.manifest import Manifest
from cxr.data.dataset import LabelledImage
from cxr.errors import DataError
from cxr.metrics.classes import measure_task
from cxr.metrics.estimate import Estimate, Metrics, format_estimate
from cxr.verdict.operating_point import Decision
from cxr.verdict.reasons import UNFAMILIAR

Key: TypeAlias = Literal["population", "source"]
"""What images are grouped by, as their list states it."""


class ScoredImage(BaseModel):
    """One image with what the model said.

    Attributes:
        population: As the list of images states it, as ``source``; empty if it does not.
        belongs: Population the image is taken to belong to; None for none.
        codes: Of the reasons to be out of scope.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    label: str
    patient: str
    population: str
    source: str
    probability: float
    probabilities: dict[str, float]
    decision: Decision
    belongs: str | None
    codes: tuple[str, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def in_scope(self) -> bool:
        """Whether there is no reason against it."""
        return not self.codes


class Group(BaseModel):
    """Figures of the images of one group, at every operating point as if all were decided.

    ``decided``, ``referred`` (in scope, the model abstains), ``unfamiliar`` and ``out_of_scope``
    (for any other reason) are shares at the default operating point, which sum to 1.
    """

    model_config = ConfigDict(frozen=True)

    by: dict[Key, str]
    images: int
    patients: int
    decided: float
    referred: float
    unfamiliar: float
    out_of_scope: float
    accuracy_of_decided: Estimate | None
    metrics: dict[str, Metrics]


def with_populations(images: Sequence[LabelledImage], manifest: Manifest) -> list[LabelledImage]:
    """State the population of images whose source the model learnt from, where nothing does."""
    known = {source.name: one.name for one in manifest.populations for source in one.sources}
    return [
        replace(image, population=image.population or known.get(image.source, ""))
        for image in images
    ]


def verify_stated(images: Sequence[LabelledImage], keys: Sequence[Key]) -> None:
    """Raise DataError if a key is stated for none of the images."""
    for key in keys:
        if not any(getattr(image, key) for image in images):
            raise DataError(
                f"No image has a {key}. Add a column {key} to the CSV file, or do not group by it."
            )


def measure_scores(scores: Sequence[ScoredImage], manifest: Manifest) -> dict[str, Metrics]:
    """Measure images at every operating point; DataError if there is none."""
    task = manifest.task.as_task()
    return measure_task(
        np.array([task.classes.index(score.label) for score in scores]),
        np.array([[score.probabilities[name] for name in task.classes] for score in scores]),
        task,
        {point.name: point.threshold for point in manifest.operating_points},
        [score.patient for score in scores],
    )


def measure_groups(
    scores: Sequence[ScoredImage], keys: Sequence[Key], manifest: Manifest
) -> tuple[Group, ...]:
    """Measure the images of each group; without keys there is none."""
    if not keys:
        return ()
    groups: dict[tuple[str, ...], list[ScoredImage]] = {}
    for score in scores:
        groups.setdefault(tuple(getattr(score, key) for key in keys), []).append(score)
    return tuple(
        _measure_group(dict(zip(keys, names, strict=True)), groups[names], manifest)
        for names in sorted(groups)
    )


def _measure_group(by: dict[Key, str], scores: list[ScoredImage], manifest: Manifest) -> Group:
    decided = [score for score in scores if score.decision != "refer"]
    unfamiliar = sum(UNFAMILIAR in score.codes for score in scores)
    in_scope, total = sum(score.in_scope for score in scores), len(scores)
    point, accuracy = manifest.default_operating_point, None
    if decided:  # where the model decides, it is by the threshold
        accuracy = measure_scores(decided, manifest)[point]["accuracy"]
    return Group(
        by=by,
        images=total,
        patients=len({score.patient for score in scores}),
        decided=len(decided) / total,
        referred=(in_scope - len(decided)) / total,
        unfamiliar=unfamiliar / total,
        out_of_scope=(total - in_scope - unfamiliar) / total,
        accuracy_of_decided=accuracy,
        metrics=measure_scores(scores, manifest),
    )


FIGURES = ("auroc", "sensitivity", "specificity", "ece")
SHARES = ("decided", "referred", "unfamiliar", "out_of_scope")


def format_groups(groups: Sequence[Group], point: str) -> str:
    """Return the groups as a table at one operating point, a row each."""
    rows = [[*groups[0].by, "images", *FIGURES, *SHARES, "accuracy_of_decided"]]
    for group in groups:
        accuracy = group.accuracy_of_decided
        rows.append(
            [
                *(name or "-" for name in group.by.values()),
                str(group.images),
                *(format_estimate(name, group.metrics[point][name]) for name in FIGURES),
                *(f"{getattr(group, name):.3f}" for name in SHARES),
                "-" if accuracy is None else format_estimate("accuracy", accuracy),
            ]
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join([f"at {point}, intervals of 95 %:", *lines])
