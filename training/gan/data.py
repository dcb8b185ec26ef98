"""What an AC-GAN may see: the train part to learn from, the val part to be judged against."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cxr.dataset import LabelledImage
from cxr.errors import DataError
from cxr.labels import Task
from cxr.preprocessing import Preprocessing
from cxr.split import Part, SplitRow, list_pool, read_split_file
from training.gan.job import GanJob
from training.samples import Samples, load_samples
from training.split import samples_of, split_as_before, split_by_patient

SEEN: tuple[Part, ...] = ("train", "val")


@dataclass(frozen=True)
class GanData:
    """Samples of a split.

    Attributes:
        spec: Preprocessing of the samples.
        train: What the networks learn from.
        val: What the generator is judged against.
        rows: The whole split, of which the test part stays unread if it was made before.
        digest: Of the images read.
    """

    spec: Preprocessing
    train: Samples
    val: Samples
    rows: list[SplitRow]
    digest: str


def load_gan_data(job: GanJob, task: Task) -> GanData:
    """Load what the training and its judge need.

    Where the split was made before, images of its test part are not opened. Else all of the pool
    are, because duplicates decide on the split; those of the test part are then let go.

    Raises:
        DataError: The data set or the split file is not as it must be.
    """
    recipe = job.recipe
    spec = Preprocessing(size_px=recipe.size_px, min_side_px=recipe.min_side_px)
    pool = list_pool(job.data, task)
    rows = None if job.split_file is None else _rows_of(pool, read_split_file(job.split_file))
    if rows is not None:
        seen = {row.name for row in rows if row.part in SEEN}
        pool = [image for image in pool if image.name in seen]
    samples = load_samples(pool, spec, task, workers=os.cpu_count() or 1, quiet=job.quiet)
    if rows is None:
        rows = split_by_patient(samples, recipe.split, recipe.seed, task)
    else:
        kept = [row for row in rows if row.part in SEEN]
        rows = [*split_as_before(samples, kept, task), *(r for r in rows if r.part not in SEEN)]
    return GanData(
        spec=spec,
        train=samples_of(samples, rows, "train"),
        val=samples_of(samples, rows, "val"),
        rows=rows,
        digest=samples.data_digest(),
    )


def _rows_of(pool: list[LabelledImage], before: list[SplitRow]) -> list[SplitRow]:
    """Give the rows of the images that are there, with the labels of this task."""
    part_of = {row.name: row.part for row in before}
    rows = [
        SplitRow(image.name, image.label, image.patient, part_of[image.name])
        for image in pool
        if image.name in part_of
    ]
    if not rows:
        raise DataError("The split file names no image of this data set.")
    return rows
