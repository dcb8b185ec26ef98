"""One whole training: data to run directory."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from cxr.decision import OperatingPoint
from cxr.digest import new_directory, sha256_of_file
from cxr.errors import RunError
from cxr.labels import Task, task_named
from cxr.manifest import Calibration, Provenance, TaskSection
from cxr.metrics import Metrics, measure
from cxr.networks import build_network
from cxr.networks.network import Network
from cxr.networks.weights import load_weights, save_weights
from cxr.preprocessing import Preprocessing
from cxr.run import RUN_NAME, WEIGHTS_NAME, Run
from cxr.split import PARTS, SPLIT_NAME, Part, SplitRow, list_pool, write_split_file
from training.augment import Augmenter
from training.calibrate import (
    BALANCED,
    choose_operating_points,
    fit_temperature,
    probabilities_of,
)
from training.device import Compute
from training.distributed import World
from training.initialise import InitReport, initialise
from training.provenance import code_revision, versions
from training.recipe import Recipe
from training.samples import Samples, load_samples
from training.scoring import score
from training.split import samples_of, split_by_patient
from training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingJob:
    """What a training needs to know beside the recipe.

    Attributes:
        recipe: How to train.
        data: The data set's folder.
        out: The run directory to make.
        init: Starting weights, see :func:`training.initialise.initialise`.
        compute: Device and precision.
        world: This process among its peers.
        quiet: Show no progress bars.
    """

    recipe: Recipe
    data: Path
    out: Path
    init: str
    compute: Compute
    world: World
    quiet: bool = False

    @property
    def work_dir(self) -> Path:
        """Where the checkpoint lies until the run is complete."""
        return self.out.with_name(f".{self.out.name}.training")


def run_training(job: TrainingJob, restart: bool = False) -> Path:
    """Train, calibrate, choose operating points, measure, and write the run directory.

    Args:
        job: What to do.
        restart: Throw a checkpoint of an unfinished training away.

    Returns:
        The run directory. In a world of several processes only rank 0 writes it.

    Raises:
        RunError: The run exists already, or a checkpoint belongs to another training.
        DataError: The data set is not as it must be.
    """
    if (job.out / RUN_NAME).exists():
        raise RunError(f"{job.out} holds a finished run. Give another --out, or delete it.")
    if restart and job.world.is_main:
        shutil.rmtree(job.work_dir, ignore_errors=True)
    job.world.wait()
    job.work_dir.mkdir(parents=True, exist_ok=True)
    make_deterministic(job.recipe.seed)

    recipe, task = job.recipe, task_named(job.recipe.task)
    spec = Preprocessing(size_px=recipe.size_px, min_side_px=recipe.min_side_px)
    samples = load_samples(
        list_pool(job.data, task),
        spec,
        task,
        workers=os.cpu_count() or 1,
        quiet=job.quiet or not job.world.is_main,
    )
    rows = split_by_patient(samples, recipe.split, recipe.seed, task)
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    log.info("images: %s", ", ".join(f"{part} {len(parts[part])}" for part in PARTS))

    network = build_network(recipe.architecture, len(task.classes))
    init = initialise(network, job.init)
    digest = samples.data_digest()
    trainer = Trainer(
        network,
        recipe,
        task,
        parts["train"],
        parts["val"],
        job.compute,
        job.world,
        job.work_dir,
        fingerprint=f"{digest} {init.source} {init.loaded}",
        quiet=job.quiet,
    )
    trainer.run()
    if job.world.is_main:
        provenance = Provenance(
            recipe=recipe.name,
            seed=recipe.seed,
            init=_init_text(init),
            code_revision=code_revision(),
            data_digest=digest,
            trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            images={part: len(parts[part]) for part in PARTS},
            patients={part: len(set(parts[part].patients)) for part in PARTS},
        )
        _write_run(job, task, spec, trainer, parts, rows, provenance)
        shutil.rmtree(job.work_dir)
    job.world.wait()
    return job.out


def make_deterministic(seed: int) -> None:
    """Make torch give the same numbers for the same seed, device and number of threads."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # we read none, and it costs
    torch.backends.cudnn.benchmark = False


def _init_text(init: InitReport) -> str:
    if init.source == "none":
        return "none (from scratch)"
    missing = f", {len(init.missing)} not found" if init.missing else ""
    return f"{init.source} ({init.loaded} tensors{missing})"


def _write_run(
    job: TrainingJob,
    task: Task,
    spec: Preprocessing,
    trainer: Trainer,
    parts: dict[Part, Samples],
    rows: list[SplitRow],
    provenance: Provenance,
) -> None:
    recipe = job.recipe
    with new_directory(job.out) as directory:
        weights = directory / WEIGHTS_NAME
        save_weights(trainer.result, weights, getattr(torch, recipe.weights_dtype))
        # What is calibrated and measured is what ships, rounding of the weights included.
        network = build_network(recipe.architecture, len(task.classes))
        load_weights(network, weights)
        network = job.compute.place(network)
        calibration, points = calibrate(network, trainer, parts["val"], task)
        write_split_file(directory / SPLIT_NAME, rows)
        run = Run(
            name=recipe.name,
            version=recipe.version,
            architecture=recipe.architecture,
            task=TaskSection(name=task.name, classes=task.classes, positive=task.positive),
            preprocessing=spec,
            normalisation=trainer.normalisation,
            calibration=calibration,
            operating_points=points,
            default_operating_point=BALANCED,
            recipe=recipe.model_dump(mode="json"),
            notes=recipe.notes,
            provenance=provenance,
            versions=versions(job.compute),
            curves=tuple(trainer.curves),
            metrics={
                part: measure_part(network, trainer, parts[part], calibration, points, task)
                for part in ("val", "test")
                if len(parts[part])
            },
            weights_sha256=sha256_of_file(weights),
        )
        (directory / RUN_NAME).write_text(run.model_dump_json(indent=2) + "\n")


def calibrate(
    network: Network, trainer: Trainer, val: Samples, task: Task
) -> tuple[Calibration, tuple[OperatingPoint, ...]]:
    """Fit the temperature and choose the operating points on the validation samples."""
    recipe = trainer.recipe

    def logits(augmenter: Augmenter | None = None) -> np.ndarray:
        return score(
            network, val.pixels, trainer.normalisation, trainer.compute, recipe.mirror, augmenter
        )

    plain = logits()
    temperature = fit_temperature(plain, val.labels)
    augmenter = Augmenter(recipe.augmentation, torch.Generator().manual_seed(recipe.seed))
    views = [plain, *(logits(augmenter) for _ in range(recipe.operating_points.stress_views))]
    truth = (val.labels == task.positive_index).astype(np.int64)
    points = choose_operating_points(
        probabilities_of(np.concatenate(views), temperature, task.positive_index),
        np.tile(truth, len(views)),
        probabilities_of(plain, temperature, task.positive_index),
        truth,
        recipe.operating_points,
    )
    return Calibration(temperature=temperature, mirror=recipe.mirror), points


def measure_part(
    network: Network,
    trainer: Trainer,
    samples: Samples,
    calibration: Calibration,
    points: tuple[OperatingPoint, ...],
    task: Task,
) -> dict[str, Metrics]:
    """Measure the network on one part at every operating point."""
    logits = score(
        network, samples.pixels, trainer.normalisation, trainer.compute, calibration.mirror
    )
    return measure(
        (samples.labels == task.positive_index).astype(np.int64),
        probabilities_of(logits, calibration.temperature, task.positive_index),
        {point.name: point.threshold for point in points},
        [str(patient) for patient in samples.patients],
    )
