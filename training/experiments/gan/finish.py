"""From trained networks to the directory of an AC-GAN."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from cxr.bundles.digest import new_directory, sha256_of_file
from cxr.bundles.manifest import WEIGHTS_NAME, Provenance, task_section
from cxr.data.labels import Task
from cxr.data.split import SPLIT_NAME, write_split_file
from cxr.networks.weights import save_weights
from training.experiments.gan.data import GanData
from training.experiments.gan.job import GanJob
from training.experiments.gan.judge import Judge, memorisation, nearest
from training.experiments.gan.record import DISCRIMINATOR_NAME, GAN_NAME, GanRun, Worth
from training.experiments.gan.report import write_report
from training.experiments.gan.trainer import GanTrainer
from training.runs.provenance import code_revision, versions


def write_gan(job: GanJob, task: Task, data: GanData, trainer: GanTrainer, judge: Judge) -> None:
    """Judge the finished generator and write the directory, complete or not at all.

    Args:
        job: What was trained, and where it goes.
        task: What the classes are.
        data: Samples of the split.
        trainer: After its last epoch.
        judge: As during the training.
    """
    recipe = job.recipe
    pixels, labels = judge.images(trainer.result, recipe.judging.final_images)
    made, real = judge.space.embed(pixels), judge.space.embed(data.train.pixels)
    worth = Worth(
        kid=judge.kid(made, labels),
        reference=judge.kid(real, data.train.labels),
        memorisation=memorisation(
            made, labels, judge.val_features, judge.val_labels, real, task.classes
        ),
    )
    distances, neighbours = nearest(made, real)
    closest = np.argsort(distances)
    with new_directory(job.out, GAN_NAME) as directory:
        save_weights(trainer.result, directory / WEIGHTS_NAME)
        save_weights(trainer.discriminator, directory / DISCRIMINATOR_NAME)
        write_split_file(directory / SPLIT_NAME, data.rows)
        parts = {"train": data.train, "val": data.val}
        run = GanRun(
            name=recipe.name,
            version=recipe.version,
            task=task_section(task),
            preprocessing=data.spec,
            recipe=recipe.model_dump(mode="json"),
            notes=recipe.notes,
            provenance=Provenance(
                recipe=recipe.name,
                seed=recipe.seed,
                init="none (from scratch)",
                code_revision=code_revision(),
                data_digest=data.digest,
                trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
                images={part: len(samples) for part, samples in parts.items()},
                patients={part: len(set(samples.patients)) for part, samples in parts.items()},
            ),
            versions=versions(trainer.compute),
            features=judge.space.about,
            curves=tuple(trainer.curves),
            worth=worth,
            weights_sha256=sha256_of_file(directory / WEIGHTS_NAME),
            discriminator_sha256=sha256_of_file(directory / DISCRIMINATOR_NAME),
        )
        pairs = (pixels[closest], data.train.pixels[neighbours[closest]])
        write_report(run, trainer, pairs, directory)
        (directory / GAN_NAME).write_text(run.model_dump_json(indent=2) + "\n")
