"""Train an AC-GAN."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np

from cxr.bundles.manifest import WEIGHTS_NAME, task_section
from cxr.data.labels import Task, task_named
from cxr.data.split import SPLIT_NAME, Part, write_split_file
from cxr.files import new_directory, sha256_of_file
from cxr.networks.weights import save_weights
from training.data.samples import Samples
from training.experiments.gan.data import GanData, load_gan_data
from training.experiments.gan.evaluator import GeneratorEvaluator, memorisation, nearest
from training.experiments.gan.features import FeatureSpace
from training.experiments.gan.recipe import GanJob
from training.experiments.gan.record import DISCRIMINATOR_NAME, GAN_NAME, GanRun, GeneratorQuality
from training.experiments.gan.report import write_report
from training.experiments.gan.trainer import GanTrainer
from training.runs.job import verify_new
from training.runs.provenance import FROM_SCRATCH, provenance_of, versions
from training.runs.train import make_deterministic

log = logging.getLogger(__name__)


def run_gan_training(job: GanJob, restart: bool = False) -> Path:
    """Train generator and discriminator, evaluate them, and write the directory.

    Raises:
        RunError: A finished training exists, or the checkpoint is another one's.
        OutputError: The place is taken.
        DataError: The data set is unusable.
    """
    verify_new(job.out, GAN_NAME)
    if restart:
        shutil.rmtree(job.work_dir, ignore_errors=True)
    job.work_dir.mkdir(parents=True, exist_ok=True)
    make_deterministic(job.recipe.seed)
    task = task_named(job.recipe.task)
    space = FeatureSpace(job.features, job.compute)
    data = load_gan_data(job, task)
    log.info("images: train %d, val %d", len(data.train), len(data.val))
    evaluator = GeneratorEvaluator(space, job.recipe, task, data.val, job.compute)
    names = sorted(str(name) for name in data.train.names)
    trainer = GanTrainer(
        job.recipe,
        task,
        data.train,
        evaluator,
        job.compute,
        job.work_dir,
        fingerprint=f"{data.digest} {names} {space.about.weights_sha256}",
        quiet=job.quiet,
    )
    trainer.run()
    _write_gan(job, task, data, trainer, evaluator)
    shutil.rmtree(job.work_dir)
    return job.out


def _write_gan(
    job: GanJob, task: Task, data: GanData, trainer: GanTrainer, evaluator: GeneratorEvaluator
) -> None:
    recipe = job.recipe
    pixels, labels = evaluator.images(trainer.result, recipe.judging.final_images)
    made, real = evaluator.space.embed(pixels), evaluator.space.embed(data.train.pixels)
    worth = GeneratorQuality(
        kid=evaluator.kid(made, labels),
        reference=evaluator.kid(real, data.train.labels),
        memorisation=memorisation(
            made, labels, evaluator.val_features, evaluator.val_labels, real, task.classes
        ),
    )
    distances, neighbours = nearest(made, real)
    closest = np.argsort(distances)
    with new_directory(job.out, GAN_NAME) as directory:
        save_weights(trainer.result, directory / WEIGHTS_NAME)
        save_weights(trainer.discriminator, directory / DISCRIMINATOR_NAME)
        write_split_file(directory / SPLIT_NAME, data.rows)
        parts: dict[Part, Samples] = {"train": data.train, "val": data.val}
        run = GanRun(
            name=recipe.name,
            version=recipe.version,
            task=task_section(task),
            preprocessing=data.spec,
            recipe=recipe.model_dump(mode="json"),
            notes=recipe.notes,
            provenance=provenance_of(recipe, FROM_SCRATCH, data.digest, parts),
            versions=versions(trainer.compute),
            features=evaluator.space.about,
            curves=tuple(trainer.curves),
            worth=worth,
            weights_sha256=sha256_of_file(directory / WEIGHTS_NAME),
            discriminator_sha256=sha256_of_file(directory / DISCRIMINATOR_NAME),
        )
        pairs = (pixels[closest], data.train.pixels[neighbours[closest]])
        write_report(run, trainer, pairs, directory)
        (directory / GAN_NAME).write_text(run.model_dump_json(indent=2) + "\n")
