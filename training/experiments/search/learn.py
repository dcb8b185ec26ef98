"""The trainings of a search."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cxr.bundles.run import EpochRecord
from cxr.data.labels import Task, task_named
from cxr.data.split import list_pool
from cxr.errors import RunError
from cxr.images.decoding import Preprocessing
from cxr.networks import build_network
from training.data.samples import Samples, load_samples
from training.data.split import samples_of
from training.data.split_kinds import folders_of, make_split
from training.fit.initialise import initialise
from training.fit.trainer import AfterEpoch, Trainer
from training.recipe import Recipe
from training.runs.job import TrainingJob
from training.runs.train import make_deterministic


@dataclass(frozen=True)
class Learner:
    """Trains recipes on the same patients."""

    job: TrainingJob
    task: Task
    train: Samples
    val: Samples
    digest: str

    def learn(self, recipe: Recipe, work: Path, after_epoch: AfterEpoch) -> Sequence[EpochRecord]:
        """Train from the checkpoint in ``work``, if any; no run is written."""
        make_deterministic(recipe.seed)
        network = build_network(recipe.architecture, len(self.task.classes))
        initialise(network, self.job.init)
        trainer = Trainer(
            network,
            recipe,
            self.task,
            self.train,
            self.val,
            self.job.compute,
            self.job.world,
            work,
            fingerprint=f"{self.digest} {self.job.init}",
            quiet=self.job.quiet,
            after_epoch=after_epoch,
        )
        trainer.run()
        return trainer.curves


def open_learner(job: TrainingJob) -> Learner:
    """Load the images once and divide them by patient.

    Raises:
        RunError: There are several processes, or a dummy class.
        DataError: The data set is unusable.
    """
    recipe = job.recipe
    if job.world.size > 1:
        raise RunError("A search trains in one process. Start it without torchrun.")
    if recipe.dummy_class is not None:
        raise RunError("A search does not train with a dummy class. Remove it from the recipe.")
    torch.manual_seed(recipe.seed)
    task = task_named(recipe.task)
    spec = Preprocessing(size_px=recipe.size_px, min_side_px=recipe.min_side_px)
    images = list_pool(job.data, task, folders_of(recipe.split))
    samples = load_samples(images, spec, task, os.cpu_count() or 1, job.quiet)
    rows = make_split(samples, recipe.split, recipe.seed, task)
    train, val = samples_of(samples, rows, "train"), samples_of(samples, rows, "val")
    return Learner(job, task, train, val, samples.data_digest())
