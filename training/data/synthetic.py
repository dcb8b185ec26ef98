"""Synthetic radiographs that join the train part of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from cxr.data.dataset import list_split
from cxr.data.labels import Task
from cxr.data.split import SPLIT_NAME, SplitRow, folder_of, read_split_file
from cxr.errors import RunError
from cxr.images.decoding import Preprocessing
from cxr.section import Section, first_complaint
from training.data.samples import Samples, load_samples

SYNTHETIC_NAME = "synthetic.json"
FOLDER = "train"


class SyntheticSet(Section):
    """The content of ``synthetic.json``."""

    generator: str
    generator_sha256: str
    seed: int
    images: dict[str, int]


def open_synthetic(path: Path) -> SyntheticSet:
    """Read the description of a folder of synthetic images.

    Raises:
        RunError: The folder has none, or it is not valid.
    """
    file = path / SYNTHETIC_NAME
    if not file.is_file():
        raise RunError(
            f"{path} has no {SYNTHETIC_NAME}: python -m training synthesize makes such folders."
        )
    try:
        return SyntheticSet.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise RunError(f"{file} is not valid at {first_complaint(error)}.") from None


def load_synthetic(
    path: Path, spec: Preprocessing, task: Task, rows: Sequence[SplitRow], quiet: bool = False
) -> Samples:
    """Load the images of a folder that ``python -m training synthesize`` made.

    Raises:
        RunError: There is no such folder, or the generator learnt from held-out patients.
    """
    open_synthetic(path)
    verify_unseen(read_split_file(path / SPLIT_NAME), rows)
    images = list_split(path, FOLDER, task)
    return load_samples(
        [replace(image, name=f"synthetic/{image.name}") for image in images],
        spec,
        task,
        quiet=quiet,
    )


def verify_unseen(learnt: Sequence[SplitRow], rows: Sequence[SplitRow]) -> None:
    """Check that a generator has not learnt from what a split holds out.

    Raises:
        RunError: An image or a patient is in both.
    """
    learnt_from = [row for row in learnt if row.part == "train"]
    held_out = [row for row in rows if row.part != "train"]
    names = {row.name for row in learnt_from} & {row.name for row in held_out}
    patients = set(map(_patient, learnt_from)) & set(map(_patient, held_out))
    if names or patients:
        raise RunError(
            f"The generator of the synthetic images was trained on {len(names)} images and "
            f"{len(patients)} patients that this split holds out. Give the split.csv beside "
            "synthetic.json as --split-file."
        )


def _patient(row: SplitRow) -> tuple[bool, str]:
    # The official data set numbers the patients of its test folder anew.
    return folder_of(row.name) == "test", row.patient


def combine(real: Samples, made: Samples) -> Samples:
    """Return real samples followed by synthetic ones."""
    return Samples(
        *(
            np.concatenate([getattr(real, one.name), getattr(made, one.name)])
            for one in fields(Samples)
        )
    )
