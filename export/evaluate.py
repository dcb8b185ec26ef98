"""Score labelled images through a bundle, as the service would."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import Manifest
from cxr.data.dataset import LabelledImage
from cxr.data.external import has_split_folders, list_class_folders, list_csv, read_label_map
from cxr.data.split import SPLIT_NAME, select_images
from cxr.errors import DataError, InputError
from cxr.images.decoding import decode_image, decode_options, to_model_input
from cxr.images.layout import describe_layout
from cxr.metrics.estimate import Metrics, format_estimate
from cxr.pixels.image import DicomFacts, ModelInput
from cxr.verdict.decision import Evidence, Rules, reach_verdict
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.scope import Scope, assess_scope
from export.engines import Runner
from export.scores import (
    Group,
    Key,
    ScoredImage,
    format_groups,
    measure_groups,
    measure_scores,
    verify_stated,
    with_populations,
)

BATCH = 16


@dataclass(frozen=True)
class Decoded:
    """A file without its full-size pixels."""

    model_input: ModelInput
    plain: Scope
    dicom: DicomFacts | None


class Evaluation(BaseModel):
    """The JSON file that ``export evaluate`` writes."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    version: str
    sha256: str
    split: str
    images: int
    unreadable: list[str]
    operating_point: str
    referred: float
    out_of_scope: float
    metrics: dict[str, Metrics]
    groups: tuple[Group, ...]
    scores: list[ScoredImage]


def evaluate_bundle(
    bundle: Bundle,
    engine: Runner,
    images: list[LabelledImage],
    split: str,
    quiet: bool = False,
    by: Sequence[Key] = (),
) -> Evaluation:
    """Score images and measure at every operating point, ``by`` group, too.

    Unreadable images are named and left out.

    Raises:
        DataError: None could be read, or what to group by is not stated.
    """
    images = with_populations(images, bundle.manifest)
    verify_stated(images, by)
    rules = bundle.rules()
    scores: list[ScoredImage] = []
    unreadable: list[str] = []
    bar = tqdm(total=len(images), desc=split, unit="image", disable=quiet, dynamic_ncols=True)
    with bar:
        for batch in _decoded(bundle, images):
            readable = [(image, decoded) for image, decoded in batch if decoded is not None]
            unreadable += [image.name for image, decoded in batch if decoded is None]
            if readable:
                answers = engine.run(np.stack([decoded.model_input for _, decoded in readable]))
                scores += [
                    _score(image, decoded, vector, row, rules, bundle.manifest.operating_point())
                    for (image, decoded), vector, row in zip(
                        readable, answers.embedding, answers.probabilities, strict=True
                    )
                ]
            bar.update(len(batch))
    if not scores:
        raise DataError(f"None of the {len(images)} images could be read.")
    return Evaluation(
        model=bundle.manifest.name,
        version=bundle.manifest.version,
        sha256=bundle.sha256,
        split=split,
        images=len(scores),
        unreadable=unreadable,
        operating_point=bundle.manifest.default_operating_point,
        referred=sum(score.decision == "refer" for score in scores) / len(scores),
        out_of_scope=sum(not score.in_scope for score in scores) / len(scores),
        metrics=measure_scores(scores, bundle.manifest),
        groups=measure_groups(scores, by, bundle.manifest),
        scores=scores,
    )


def _score(
    image: LabelledImage,
    decoded: Decoded,
    embedding: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    rules: Rules,
    point: OperatingPoint,
) -> ScoredImage:
    by_class = dict(zip(rules.task.classes, map(float, probabilities), strict=True))
    layout = describe_layout(decoded.model_input)
    evidence = Evidence(by_class, embedding, layout, decoded.plain, decoded.dicom)
    verdict = reach_verdict(evidence, rules, point)
    return ScoredImage(
        name=image.name,
        label=image.label,
        patient=image.patient,
        population=image.population,
        source=image.source,
        probability=verdict.probability,
        probabilities=by_class,
        decision=verdict.decision,
        belongs=None if verdict.population is None else verdict.population.name,
        codes=tuple(reason.code for reason in verdict.reasons),
    )


def _decoded(
    bundle: Bundle, images: list[LabelledImage]
) -> Iterator[list[tuple[LabelledImage, Decoded | None]]]:
    """Decode in threads, at most one batch ahead of the engine."""
    spec = bundle.manifest.preprocessing

    def load(image: LabelledImage) -> Decoded | None:
        try:
            decoded = decode_image(image.path.read_bytes(), decode_options(spec))
            model_input = to_model_input(decoded.pixels, spec)
            return Decoded(model_input, assess_scope(decoded), decoded.dicom)
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
    """Return the metrics as a table, one column per operating point, and one of the groups."""
    points = list(evaluation.metrics)
    lines = ["".join(f"{cell:>24}" for cell in ("", *points)).rstrip()]
    for figure in next(iter(evaluation.metrics.values())):
        cells = [format_estimate(figure, evaluation.metrics[point][figure]) for point in points]
        lines.append("".join(f"{cell:>24}" for cell in (figure, *cells)))
    lines.append(
        f"at {evaluation.operating_point}: {100 * evaluation.referred:.1f} % referred, of all "
        f"images {100 * evaluation.out_of_scope:.1f} % because they are out of scope"
    )
    if evaluation.groups:
        lines += ["", format_groups(evaluation.groups, evaluation.operating_point)]
    return "\n".join(lines)


DEFAULT_SPLIT = "test"


def labelled_images(
    manifest: Manifest,
    *,
    data: Sequence[Path] | None,
    csv: Path | None,
    split: str | None,
    split_file: Path | None,
    label_map: str,
) -> tuple[list[LabelledImage], str]:
    """List images from split folders, class folders alone, or a CSV file, and name the list.

    No ``split`` stands for the test folder, or class folders alone; no ``split_file`` for that of
    the shipped run. DataError if images are missing or options contradict each other.
    """
    task, mapped = manifest.task.as_task(), read_label_map(label_map)
    if csv is not None:
        if split is not None:
            raise DataError("A CSV file has no splits: omit --split.")
        return list_csv(csv, task, mapped), csv.name
    assert data
    if split is None and len(data) == 1 and not has_split_folders(data[0]):
        return list_class_folders(data[0], task, mapped), data[0].resolve().name
    if mapped:
        raise DataError("--label-map requires a CSV file, or class folders without splits.")
    chosen = split or DEFAULT_SPLIT
    rows = split_file or Path("models") / manifest.name / SPLIT_NAME
    return select_images(data, chosen, task, rows), chosen
