"""The split by patient: a file that says which part each image belongs to."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from cxr.data.dataset import (
    SPLIT_FOLDERS,
    DataSets,
    LabelledImage,
    list_split,
    list_splits,
    paths_of,
)
from cxr.data.external import is_table, list_csv, name_of_table
from cxr.data.labels import Task
from cxr.errors import DataError

Part: TypeAlias = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

SPLIT_NAME = "split.csv"
INTERNAL_PREFIX = "internal-"
"""``internal-test`` is the test part of the split by patient; ``test`` is the folder."""

POOL_FOLDERS = ("train", "val")
"""Folders whose images are split by patient. ``test/`` is never trained on or tuned with."""

_COLUMNS = ("name", "label", "patient", "part")


@dataclass(frozen=True)
class SplitRow:
    """One image of the split."""

    name: str
    label: str
    patient: str
    part: Part


def write_split_file(path: Path, rows: Iterable[SplitRow]) -> None:
    """Write the rows as CSV, sorted by name."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in sorted(rows, key=lambda r: r.name):
            writer.writerow((row.name, row.label, row.patient, row.part))


def read_split_file(path: Path) -> list[SplitRow]:
    """Read what :func:`write_split_file` wrote; DataError if it is malformed."""
    if not path.is_file():
        raise DataError(f"No split file {path}. It lies in the run's directory.")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise DataError(f"{path} is not a split file: its columns are not {_COLUMNS}.")
        rows = list(reader)
    if any(row["part"] not in PARTS for row in rows):
        raise DataError(f"{path} names a part that is not one of {', '.join(PARTS)}.")
    return [SplitRow(**row) for row in rows]  # type: ignore[arg-type]  # checked just above


def folder_of(name: str) -> str:
    """Return the split folder in an image's name, ``train`` for an image that a CSV file lists."""
    for part in name.split("/")[:2]:
        if part in SPLIT_FOLDERS:
            return part
    return "train"


def list_pool(
    data: DataSets, task: Task, folders: Sequence[str] = POOL_FOLDERS
) -> list[LabelledImage]:
    """List the images that may be trained on: ``train`` and, where present, ``folders``.

    A data set may also be a CSV file (:mod:`cxr.data.external`); the names of its images begin with
    the name of its folder.
    """
    sets = paths_of(data)
    tables = [path for path in sets if is_table(path)]
    divided = [path for path in sets if not is_table(path)]
    optional = [folder for folder in folders if folder != "train"]
    images = list_splits(divided, folders, task, optional) if divided or not tables else []
    for table in tables:
        prefix = f"{name_of_table(table)}/"
        images += [
            replace(one, name=prefix + one.name, patient=prefix + one.patient)
            for one in list_csv(table, task)
        ]
    if len({one.name for one in images}) < len(images):
        raise DataError(
            "Two images have one name: name each CSV file once, in folders of their own."
        )
    return images


def list_divided(data: DataSets, task: Task, names: Iterable[str]) -> list[LabelledImage]:
    """List the pool, and ``test`` if ``names`` has one of that folder."""
    has_test = any(folder_of(name) == "test" for name in names)
    return list_pool(data, task, SPLIT_FOLDERS if has_test else POOL_FOLDERS)


def select_images(
    data: DataSets, split: str, task: Task, split_file: Path | None
) -> list[LabelledImage]:
    """List the images a command was asked to score.

    ``split`` is a folder (``train``, ``val``, ``test``), or ``internal-train``, ``internal-val``,
    ``internal-test`` for a part of the split by patient, which needs ``split_file``.

    Raises:
        DataError: Nothing to score, or images of the split file are missing.
    """
    if not split.startswith(INTERNAL_PREFIX):
        return list_split(data, split, task)
    part = split.removeprefix(INTERNAL_PREFIX)
    if split_file is None or part not in PARTS:
        raise DataError(
            f"Split {split!r} needs the run's split file and one of "
            + ", ".join(INTERNAL_PREFIX + p for p in PARTS)
        )
    wanted = {row.name for row in read_split_file(split_file) if row.part == part}
    images = [image for image in list_divided(data, task, wanted) if image.name in wanted]
    if len(images) < len(wanted):
        raise DataError(
            f"{len(wanted) - len(images)} of {len(wanted)} images of {split} are not in "
            f"{', '.join(map(str, paths_of(data)))}. Name every data set that was split (--data)."
        )
    return images
