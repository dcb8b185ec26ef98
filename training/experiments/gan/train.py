"""One whole training of the AC-GAN: data to directory."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from cxr.bundles.digest import verify_replaceable
from cxr.data.labels import task_named
from cxr.errors import RunError
from training.experiments.gan.data import load_gan_data
from training.experiments.gan.features import FeatureSpace
from training.experiments.gan.finish import write_gan
from training.experiments.gan.job import GanJob
from training.experiments.gan.judge import Judge
from training.experiments.gan.record import GAN_NAME
from training.experiments.gan.trainer import GanTrainer
from training.runs.train import make_deterministic

log = logging.getLogger(__name__)


def run_gan_training(job: GanJob, restart: bool = False) -> Path:
    """Train generator and discriminator, judge them, and write the directory.

    Args:
        job: What to do.
        restart: Throw a checkpoint of an unfinished training away.

    Returns:
        The directory.

    Raises:
        RunError: A finished training lies there, or a checkpoint belongs to another one.
        OutputError: Something else stands where the directory shall be.
        DataError: The data set is not as it must be.
    """
    if (job.out / GAN_NAME).exists():
        raise RunError(f"{job.out} holds a finished training. Give another --out, or delete it.")
    verify_replaceable(job.out, GAN_NAME)
    if restart:
        shutil.rmtree(job.work_dir, ignore_errors=True)
    job.work_dir.mkdir(parents=True, exist_ok=True)
    make_deterministic(job.recipe.seed)
    task = task_named(job.recipe.task)
    space = FeatureSpace(job.features, job.compute)
    data = load_gan_data(job, task)
    log.info("images: train %d, val %d", len(data.train), len(data.val))
    judge = Judge(space, job.recipe, task, data.val, job.compute)
    names = sorted(str(name) for name in data.train.names)
    trainer = GanTrainer(
        job.recipe,
        task,
        data.train,
        judge,
        job.compute,
        job.work_dir,
        fingerprint=f"{data.digest} {names} {space.about.weights_sha256}",
        quiet=job.quiet,
    )
    trainer.run()
    write_gan(job, task, data, trainer, judge)
    shutil.rmtree(job.work_dir)
    return job.out
