"""Measure how faithful a run's heatmaps are to its network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.methods import Method
from cxr.bundles.run import Run, open_run
from cxr.data.dataset import DataSets
from cxr.data.split import SPLIT_NAME, select_images
from cxr.errors import DataError
from cxr.explain.evidence import (
    EVIDENCE_NAME,
    Curve,
    Curves,
    Dependence,
    ExplanationEvidence,
    Pointing,
)
from cxr.explain.grad_cam import GradCam
from cxr.networks.served import ServedNetwork, served_network
from training.data.samples import Samples, load_samples
from training.data.sources import populations_of
from training.device import Compute
from training.fit.segmenter import LungSegmenter, find_lungs, load_segmenter
from training.heatmaps import deletion
from training.heatmaps.deletion import BLOCKS, STEPS, ImageCurves
from training.heatmaps.dependence import Scorer, measure_dependence
from training.heatmaps.explaining import choose_evenly, heatmaps_of, probabilities_as_served
from training.heatmaps.localisation import read_localisation
from training.heatmaps.lung_share import measure_lung_share, measure_pointing
from training.heatmaps.randomisation import Maps, measure_randomisation
from training.recipe import Recipe
from training.report.bootstrap import estimate_mean
from training.report.page import json_text
from training.runs.job import SEGMENTER
from training.runs.provenance import code_revision, versions

RANDOMISED_IMAGES = 32  # at most, one for each patient
RANDOMISED_REPEATS = 3  # draws of fresh weights; one draw can be lucky

Group = Literal["true_positive", "true_negative"]
BaselineName = Literal["donor", "blur"]


@dataclass(frozen=True)
class FaithfulnessPlan:
    """What to measure.

    Attributes:
        split: As for ``python -m training evaluate``.
        lungs: Folder of the lung segmenter.
        localisation: Folder of images with the finding marked, None for no pointing game.
    """

    split: str
    n: int
    methods: tuple[Method, ...]
    lungs: Path = SEGMENTER
    localisation: Path | None = None
    seed: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Findings:
    """The evidence and the input of its figures.

    Attributes:
        fields: Their lungs, (N, SIDE_PX, SIDE_PX).
    """

    evidence: ExplanationEvidence
    curves: dict[tuple[Group, BaselineName], list[ImageCurves]]
    positives: Samples
    fields: NDArray[np.bool_]


def measure_faithfulness(
    run_path: Path, data: DataSets, plan: FaithfulnessPlan, compute: Compute
) -> Findings:
    """Run all checks.

    ``compute`` sets the precision of the repeated passes; which images are called correctly is
    decided in float32.

    Raises:
        RunError: The run is missing or damaged.
        DataError: The images are, or no positive one is called positive.
    """
    revision = code_revision()  # now, while what runs is what lies there
    run = open_run(run_path)
    task = run.task.as_task()
    listed = select_images(data, plan.split, task, run_path / SPLIT_NAME)
    chosen = choose_evenly(listed, plan.n, plan.seed)
    everything = load_samples(listed, run.preprocessing, task, quiet=plan.quiet)
    samples = everything.take(np.flatnonzero(np.isin(everything.names, [i.name for i in chosen])))
    segmenter = load_segmenter(plan.lungs)
    served = served_network(run_path / WEIGHTS_NAME, run).to(compute.device)
    point = run.default_point

    exact = probabilities_as_served(served, samples.pixels, compute.exact)
    called = task.probabilities(exact) >= point.threshold
    positive = task.is_positive(samples.labels)
    positives = samples.take(np.flatnonzero(positive & called))
    negatives = samples.take(np.flatnonzero(~positive & ~called))
    if len(positives) == 0:
        raise DataError(
            f"None of {int(positive.sum())} {task.positive} images is called positive at "
            f"{point.name}: there is no right answer to explain. Choose more with --n."
        )
    explainer = GradCam(served, compute.dtype, compute.device)
    groups: dict[Group, Samples] = {"true_positive": positives}
    if len(negatives) > 0:
        groups["true_negative"] = negatives
    maps: Maps = {}
    curves: dict[tuple[Group, BaselineName], list[ImageCurves]] = {}
    for group, members in groups.items():
        found = {
            method: heatmaps_of(explainer, members.pixels, list(members.labels), method)
            for method in plan.methods
        }
        maps = maps or found  # those of the positives, for the other checks
        for name, bases in _baselines(group, groups, plan.seed).items():
            curves[group, name] = _measure_curves(served, members, bases, found, plan, compute)
    _, first = np.unique(positives.patients, return_index=True)
    compared = np.sort(first)[:RANDOMISED_IMAGES]
    fields = find_lungs(segmenter, positives.pixels)[:, 0] > 0

    def finding(images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return task.probabilities(probabilities_as_served(served, images, compute))

    marked, pointing = _measure_pointing(explainer, finding, run, plan)
    evidence = ExplanationEvidence(
        run=run.name,
        version=run.version,
        weights_sha256=run.weights_sha256,
        code_revision=revision,
        versions=versions(compute),
        split=plan.split,
        seed=plan.seed,
        images=len(samples),
        patients=len(set(samples.patients)),
        operating_point=point.name,
        steps=STEPS,
        blocks=BLOCKS**2,
        layer=served.network.explain_layer,
        curves=tuple(
            _curves(group, name, found, groups[group], plan)
            for (group, name), found in curves.items()
        ),
        randomisation_images=len(compared),
        randomisation_repeats=RANDOMISED_REPEATS,
        randomisation=measure_randomisation(
            run,
            served,
            positives.take(compared),
            {method: maps[method][compared] for method in plan.methods},
            compute,
            RANDOMISED_REPEATS,
            plan.seed,
            plan.quiet,
        ),
        lung_area=estimate_mean(fields.mean(axis=(1, 2)), positives.patients, plan.seed),
        lung_share={
            method: measure_lung_share(maps[method], fields, positives.patients, plan.seed)
            for method in plan.methods
        },
        pointing_images=marked,
        pointing=pointing,
        dependence=_measure_dependence(everything, segmenter, finding, run, plan),
    )  # fmt: skip
    return Findings(evidence, curves, positives, fields)


def _measure_pointing(
    explainer: GradCam, finding: Scorer, run: Run, plan: FaithfulnessPlan
) -> tuple[int, dict[Method, Pointing]]:
    """Return how many images have their finding marked, and what each method makes of them."""
    if plan.localisation is None:
        return 0, {}
    shown = read_localisation(plan.localisation, run.preprocessing)
    task = run.task.as_task()
    called = finding(shown.pixels) >= run.default_point.threshold
    targets = [task.classes.index(task.positive_classes[0])] * len(shown.pixels)
    return len(shown.pixels), {
        method: measure_pointing(
            heatmaps_of(explainer, shown.pixels, targets, method), shown.regions, called, plan.seed
        )
        for method in plan.methods
    }


def _measure_dependence(
    samples: Samples, segmenter: LungSegmenter, finding: Scorer, run: Run, plan: FaithfulnessPlan
) -> dict[str, Dependence]:
    """Return what the answers for each population depend on."""
    populations = populations_of(samples, Recipe.model_validate(run.recipe))
    threshold, task = run.default_point.threshold, run.task.as_task()
    found = {}
    for name in dict.fromkeys(map(str, populations)):
        members = samples.take(np.flatnonzero(populations == name))
        lungs = find_lungs(segmenter, members.pixels)
        found[name] = measure_dependence(members, lungs, finding, threshold, task, plan.seed)
    return found


def _baselines(
    group: Group, groups: dict[Group, Samples], seed: int
) -> dict[BaselineName, NDArray[np.uint8]]:
    members = groups[group]
    found: dict[BaselineName, NDArray[np.uint8]] = {}
    for other, donors in groups.items():
        if other != group:
            drawn = np.random.default_rng(seed).integers(0, len(donors), len(members))
            found["donor"] = donors.pixels[drawn]
    found["blur"] = np.stack([deletion.blurred(image) for image in members.pixels])
    return found


def _measure_curves(
    served: ServedNetwork,
    samples: Samples,
    bases: NDArray[np.uint8],
    maps: Maps,
    plan: FaithfulnessPlan,
    compute: Compute,
) -> list[ImageCurves]:
    rng = np.random.default_rng(plan.seed)

    def scorer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return probabilities_as_served(served, images, compute)

    rows = tqdm(range(len(samples)), "deleting", unit="image", disable=plan.quiet)
    return [
        deletion.curves_of(
            samples.pixels[i],
            bases[i],
            [maps[method][i] for method in plan.methods],
            int(samples.labels[i]),
            scorer,
            rng,
        )
        for i in rows
    ]


def _curves(
    group: Group,
    baseline: BaselineName,
    found: Sequence[ImageCurves],
    samples: Samples,
    plan: FaithfulnessPlan,
) -> Curves:
    deleted = deletion.area(np.stack([c.deletion for c in found]))  # (N, methods)
    inserted = deletion.area(np.stack([c.insertion for c in found]))
    random = deletion.area(np.stack([c.random for c in found])).mean(axis=1)

    def curve(areas: NDArray[np.float64]) -> Curve:
        return Curve(
            area=estimate_mean(areas, samples.patients, plan.seed),
            difference=estimate_mean(areas - random, samples.patients, plan.seed),
        )

    ends = np.stack([c.random[0, [0, -1]] for c in found])
    return Curves(
        group=group,
        baseline=baseline,
        images=len(samples),
        intact=estimate_mean(ends[:, 0], samples.patients, plan.seed),
        removed=estimate_mean(ends[:, 1], samples.patients, plan.seed),
        random=estimate_mean(random, samples.patients, plan.seed),
        deletion={method: curve(deleted[:, i]) for i, method in enumerate(plan.methods)},
        insertion={method: curve(inserted[:, i]) for i, method in enumerate(plan.methods)},
    )


def save_evidence(evidence: ExplanationEvidence, run_path: Path) -> Path:
    """Write ``explanation.json`` into a run directory atomically."""
    file = run_path / EVIDENCE_NAME
    staged = file.with_suffix(".new")
    staged.write_text(json_text(evidence))
    staged.replace(file)
    return file
