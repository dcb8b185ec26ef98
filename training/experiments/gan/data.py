"""The data of an AC-GAN."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cxr.data.dataset import LabelledImage
from cxr.data.labels import Task
from cxr.data.split import Part, SplitRow, list_divided, list_pool, read_split_file
from cxr.errors import DataError
from cxr.images.decoding import Preprocessing
from training.data.samples import Samples, load_samples
from training.data.split import samples_of, split_as_before
from training.data.split_kinds import folders_of, make_split
from training.experiments.gan.recipe import GanJob

SEEN: tuple[Part, ...] = ("train", "val")


@dataclass(frozen=True)
class GanData:
    """Samples of a split."""

    spec: Preprocessing
    train: Samples
    val: Samples
    rows: list[SplitRow]
    digest: str


def load_gan_data(job: GanJob, task: Task) -> GanData:
    """Load the train and val parts; DataError if data set or split file is unusable.

    With an existing split the images of its test part are not opened. Without one all are, because
    duplicates affect the split.
    """
    recipe = job.recipe
    spec = Preprocessing(size_px=recipe.size_px, min_side_px=recipe.min_side_px)
    before = None if job.split_file is None else read_split_file(job.split_file)
    if before is None:
        images = list_pool(job.data, task, folders_of(recipe.split))
    else:
        divided = list_divided(job.data, task, [row.name for row in before])
        known = _rows_of(divided, before)
        seen = {row.name for row in known if row.part in SEEN}
        images = [image for image in divided if image.name in seen]
    samples = load_samples(images, spec, task, workers=os.cpu_count() or 1, quiet=job.quiet)
    if before is None:
        rows = make_split(samples, recipe.split, recipe.seed, task)
    else:
        kept = [row for row in known if row.part in SEEN]
        rows = [*split_as_before(samples, kept, task), *(r for r in known if r.part not in SEEN)]
    return GanData(
        spec=spec,
        train=samples_of(samples, rows, "train"),
        val=samples_of(samples, rows, "val"),
        rows=rows,
        digest=samples.data_digest(),
    )


def _rows_of(pool: list[LabelledImage], before: list[SplitRow]) -> list[SplitRow]:
    part_of = {row.name: row.part for row in before}
    rows = [
        SplitRow(image.name, image.label, image.patient, part_of[image.name])
        for image in pool
        if image.name in part_of
    ]
    if not rows:
        raise DataError("The split file names no image of this data set.")
    return rows
