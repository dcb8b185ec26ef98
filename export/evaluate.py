"""Score a labelled folder through a bundle, as the service would."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from cxr.bundle import Bundle
from cxr.dataset import LabelledImage
from cxr.errors import DataError, InputError
from cxr.estimate import Estimate, format_estimate
from cxr.image import ModelInput
from cxr.metrics import measure
from export.engine import ExportEngine
from export.goldens import read_model_input

BATCH = 16


class ScoredImage(BaseModel):
    """One image with what the model said."""

    model_config = ConfigDict(frozen=True)

    name: str
    label: str
    patient: str
    probability: float


class Evaluation(BaseModel):
    """The content of the JSON file ``export evaluate`` writes."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    version: str
    sha256: str
    split: str
    images: int
    unreadable: list[str]
    metrics: dict[str, dict[str, Estimate]]
    scores: list[ScoredImage]


def evaluate_bundle(
    bundle: Bundle,
    engine: ExportEngine,
    images: list[LabelledImage],
    split: str,
    quiet: bool = False,
) -> Evaluation:
    """Score images and measure at every operating point.

    Unreadable images are named in the result and left out.

    Args:
        bundle: The opened bundle.
        engine: Runs its graph.
        images: What to score, of any size and format the service reads.
        split: Name for the report.
        quiet: Show no progress bar.

    Raises:
        DataError: No image could be read.
    """
    positive = bundle.manifest.task.as_task().positive_index
    scores: list[ScoredImage] = []
    unreadable: list[str] = []
    bar = tqdm(total=len(images), desc=split, unit="image", disable=quiet, dynamic_ncols=True)
    with bar:
        for batch in _decoded(bundle, images):
            readable = [(image, x) for image, x in batch if x is not None]
            unreadable += [image.name for image, x in batch if x is None]
            if readable:
                _, probabilities = engine.run(np.stack([x for _, x in readable]))
                scores += [
                    ScoredImage(
                        name=image.name,
                        label=image.label,
                        patient=image.patient,
                        probability=float(row[positive]),
                    )
                    for (image, _), row in zip(readable, probabilities, strict=True)
                ]
            bar.update(len(batch))
    if not scores:
        raise DataError(f"None of the {len(images)} images could be read.")
    metrics = measure(
        [int(score.label == bundle.manifest.task.positive) for score in scores],
        [score.probability for score in scores],
        {point.name: point.threshold for point in bundle.manifest.operating_points},
        [score.patient for score in scores],
    )
    return Evaluation(
        model=bundle.manifest.name,
        version=bundle.manifest.version,
        sha256=bundle.sha256,
        split=split,
        images=len(scores),
        unreadable=unreadable,
        metrics=metrics,
        scores=scores,
    )


def _decoded(
    bundle: Bundle, images: list[LabelledImage]
) -> Iterator[list[tuple[LabelledImage, ModelInput | None]]]:
    """Decode in threads, one batch ahead of the engine at most."""

    def load(image: LabelledImage) -> ModelInput | None:
        try:
            return read_model_input(image.path.read_bytes(), bundle.manifest.preprocessing)
        except InputError:
            return None

    groups = [images[start : start + BATCH] for start in range(0, len(images), BATCH)] or [[]]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        coming = pool.map(load, groups[0])
        for group, following in pairwise([*groups, []]):
            loaded = list(coming)
            coming = pool.map(load, following)
            yield list(zip(group, loaded, strict=True))


def format_table(evaluation: Evaluation) -> str:
    """Give the metrics as an aligned table, one column per operating point."""
    points = list(evaluation.metrics)
    lines = ["".join(f"{cell:>24}" for cell in ("", *points)).rstrip()]
    for figure in next(iter(evaluation.metrics.values())):
        cells = [format_estimate(figure, evaluation.metrics[point][figure]) for point in points]
        lines.append("".join(f"{cell:>24}" for cell in (figure, *cells)))
    return "\n".join(lines)
