"""From a trained network to a run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.bundles.manifest import (
    SCOPE_NAME,
    WEIGHTS_NAME,
    Calibration,
    Normalisation,
    Provenance,
    task_section,
)
from cxr.bundles.run import RUN_NAME, EpochRecord, Run
from cxr.data.labels import Task
from cxr.data.split import SPLIT_NAME, Part, SplitRow, write_split_file
from cxr.files import new_directory, sha256_of_file
from cxr.images.decoding import Preprocessing
from cxr.metrics.classes import measure_task
from cxr.metrics.estimate import Metrics
from cxr.networks import build_network
from cxr.networks.network import Network
from cxr.networks.served import surround
from cxr.networks.weights import load_weights, save_weights
from cxr.verdict.operating_point import OperatingPoint
from training.data.samples import Samples
from training.fit.augment import Augmenter
from training.fit.scoring import score
from training.reliability.calibrate import (
    BALANCED,
    Scored,
    choose_operating_points,
    fit_temperature,
    probabilities_of,
)
from training.reliability.limits import find_limits
from training.runs.job import TrainingJob
from training.runs.provenance import versions

Floats32: TypeAlias = NDArray[np.float32]


class Trained(Protocol):
    """A network that has learnt."""

    @property
    def result(self) -> Network:
        """The network to ship."""

    @property
    def normalisation(self) -> Normalisation:
        """Normalisation of its images."""

    @property
    def curves(self) -> Sequence[EpochRecord]:
        """The training curves."""


def write_run(
    job: TrainingJob,
    task: Task,
    spec: Preprocessing,
    trained: Trained,
    parts: dict[Part, Samples],
    rows: list[SplitRow],
    provenance: Provenance,
) -> None:
    """Calibrate, choose operating points, fit the limits, measure, and write the run.

    All in float32 on the weights as they ship, because that is what is served.
    """
    recipe = job.recipe
    with new_directory(job.out, RUN_NAME) as directory:
        weights = directory / WEIGHTS_NAME
        if recipe.class_weights == "balanced":
            restore_prior(trained.result, parts["train"], task)
        elif provenance.synthetic is not None:
            restore_prior(trained.result, parts["train"], task, provenance.synthetic.images)
        save_weights(trained.result, weights, getattr(torch, recipe.weights_dtype))
        # What is calibrated and measured is what ships, rounding of the weights included.
        network = build_network(recipe.architecture, len(task.classes))
        load_weights(network, weights)
        network = job.compute.place(network)
        normalisation = trained.normalisation
        calibration, points = calibrate(network, normalisation, job, parts["val"], task)
        served = surround(network, normalisation, calibration)
        limits = find_limits(served, recipe, task, points, parts, spec, job.compute)
        limits.gate.save(directory / SCOPE_NAME)
        write_split_file(directory / SPLIT_NAME, rows)
        run = Run(
            name=recipe.name,
            version=recipe.version,
            architecture=recipe.architecture,
            task=task_section(task),
            preprocessing=spec,
            normalisation=normalisation,
            calibration=calibration,
            operating_points=points,
            default_operating_point=BALANCED,
            referral=limits.referral,
            scope=limits.scope,
            populations=limits.populations,
            recipe=recipe.model_dump(mode="json"),
            notes=recipe.notes,
            provenance=provenance,
            versions=versions(job.compute),
            curves=tuple(trained.curves),
            metrics={
                part: _measure_part(
                    network, normalisation, job, parts[part], calibration, points, task
                )
                for part in ("val", "test")
                if len(parts[part])
            },
            weights_sha256=sha256_of_file(weights),
            scope_sha256=sha256_of_file(directory / SCOPE_NAME),
        )
        (directory / RUN_NAME).write_text(run.model_dump_json(indent=2) + "\n")


def restore_prior(
    network: Network, train: Samples, task: Task, made: Mapping[str, int] | None = None
) -> None:
    """Undo the effect of balanced class weights, or synthetic images, on the probabilities.

    A network trained with equal class weights answers as if classes were equally frequent. Adding
    the logarithm of each class's share to its logit restores the share in the data (Bayes' rule);
    the ranking stays.

    ``made``: Synthetic images by class, if trained without class weights, else None.
    """
    counts = np.bincount(train.labels, minlength=len(task.classes))
    offset = torch.log(torch.from_numpy(counts / counts.sum()))
    if made is not None:
        shown = counts + np.array([made[name] for name in task.classes])
        offset -= torch.log(torch.from_numpy(shown / shown.sum()))
    network.add_to_logits(offset)


def calibrate(
    network: Network, normalisation: Normalisation, job: TrainingJob, val: Samples, task: Task
) -> tuple[Calibration, tuple[OperatingPoint, ...]]:
    """Fit temperature and operating points on the validation samples."""
    recipe = job.recipe

    def logits(augmenter: Augmenter | None = None) -> Floats32:
        return score(
            network,
            val.pixels,
            normalisation,
            job.compute.exact,
            recipe.mirror,
            augmenter,
        )

    plain = logits()
    temperature = fit_temperature(plain, val.labels)
    augmenter = Augmenter(recipe.augmentation, torch.Generator().manual_seed(recipe.seed))
    copies = recipe.operating_points.stress_views
    views = [logits(augmenter) for _ in range(copies)] or [plain]

    def scored(of: list[Floats32]) -> Scored:
        truth = task.is_positive(val.labels).astype(np.int64)
        given = task.probabilities(probabilities_of(np.concatenate(of), temperature))
        return Scored(given, np.tile(truth, len(of)), np.tile(val.populations, len(of)))

    points = choose_operating_points(scored([plain]), scored(views), recipe.operating_points)
    return Calibration(temperature=temperature, mirror=recipe.mirror), points


def _measure_part(
    network: Network,
    normalisation: Normalisation,
    job: TrainingJob,
    samples: Samples,
    calibration: Calibration,
    points: tuple[OperatingPoint, ...],
    task: Task,
) -> dict[str, Metrics]:
    logits = score(network, samples.pixels, normalisation, job.compute.exact, calibration.mirror)
    return measure_task(
        samples.labels,
        probabilities_of(logits, calibration.temperature),
        task,
        {point.name: point.threshold for point in points},
        [str(patient) for patient in samples.patients],
    )
