"""Runs made of finished runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxr.bundles.manifest import Normalisation
from cxr.bundles.run import EpochRecord, Run, open_run
from cxr.data.dataset import DataSets
from cxr.data.labels import Task
from cxr.data.split import PARTS, SPLIT_NAME, Part, SplitRow, list_divided, read_split_file
from cxr.errors import DataError
from cxr.images.decoding import Preprocessing
from cxr.networks.network import Network
from training.data.samples import Samples, load_samples
from training.data.sources import populations_of
from training.data.split import samples_of
from training.device import Compute
from training.distributed import World
from training.recipe import Recipe
from training.runs.finish import write_run
from training.runs.job import TrainingJob
from training.runs.provenance import provenance_of

DIGEST_DIGITS = 12


@dataclass(frozen=True)
class Member:
    """A finished run that becomes part of another."""

    path: Path
    run: Run
    rows: tuple[SplitRow, ...]

    @property
    def title(self) -> str:
        """Name, version and digest of its weights."""
        return f"{self.run.name} {self.run.version} ({self.run.weights_sha256[:DIGEST_DIGITS]})"

    def patients(self, part: str) -> set[str]:
        """Return the patients of a part."""
        return {row.patient for row in self.rows if row.part == part}


def open_member(path: Path) -> Member:
    """Open a run with its split.

    Raises:
        RunError: It is missing or damaged.
        DataError: Its split is.
    """
    return Member(path, open_run(path), tuple(read_split_file(path / SPLIT_NAME)))


@dataclass(frozen=True)
class Derived:
    """A network made of trained ones, a :class:`training.runs.finish.Trained`."""

    result: Network
    normalisation: Normalisation
    curves: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class DerivingJob:
    """What to make."""

    name: str
    version: str
    data: DataSets
    out: Path
    compute: Compute
    quiet: bool = False


@dataclass(frozen=True)
class Divided:
    """The images of a run's split, loaded."""

    task: Task
    spec: Preprocessing
    samples: Samples
    rows: tuple[SplitRow, ...]
    parts: dict[Part, Samples]


def load_divided(member: Member, recipe: Recipe, job: DerivingJob) -> Divided:
    """Load the images a run was trained, validated and tested on; DataError if some are missing."""
    task, rows = member.run.task.as_task(), member.rows
    spec = Preprocessing(size_px=recipe.size_px, min_side_px=recipe.min_side_px)
    wanted = {row.name for row in rows}
    images = [image for image in list_divided(job.data, task, wanted) if image.name in wanted]
    if len(images) < len(wanted):
        missing = len(wanted) - len(images)
        raise DataError(f"{missing} of {len(wanted)} images of the run's split are missing.")
    samples = load_samples(images, spec, task, os.cpu_count() or 1, job.quiet)
    samples = replace(samples, populations=populations_of(samples, recipe))
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    return Divided(task, spec, samples, rows, parts)


def derived_recipe(member: Member, job: DerivingJob, **changes: Any) -> Recipe:
    """Return a run's recipe, changed to how the derived network is finished; its phases stay."""
    return Recipe.model_validate(member.run.recipe).changed(
        name=job.name,
        version=job.version,
        class_weights="none",  # the run's probabilities are those of the data already
        sampling="uniform",
        dummy_class=None,
        **changes,
    )


def finish_derived(job: DerivingJob, recipe: Recipe, derived: Derived, divided: Divided) -> Path:
    """Calibrate, limit, measure and write the network."""
    parts = divided.parts
    digest = divided.samples.data_digest()
    provenance = provenance_of(recipe, recipe.init, digest, parts)
    finishing = TrainingJob(recipe, job.data, job.out, recipe.init, job.compute, World())
    rows = list(divided.rows)
    write_run(finishing, divided.task, divided.spec, derived, parts, rows, provenance)
    return job.out
