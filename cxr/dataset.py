"""Labelled images on disk, in the layout of Kaggle's "Chest X-Ray Images (Pneumonia)".

::

    DIR/train/NORMAL/*.jpeg   DIR/train/PNEUMONIA/*.jpeg   (val/ and test/ alike)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cxr.errors import DataError
from cxr.labels import Task

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".dcm"})

# person<N>_bacteria_<M>.jpeg, person<N>_virus_<M>.jpeg; IM-<N>-<M>.jpeg, NORMAL2-IM-<N>-<M>.jpeg
_PNEUMONIA_NAME = re.compile(r"^(person\d+)_(?:bacteria|virus)_")
_NORMAL_NAME = re.compile(r"^(?:NORMAL2-)?(IM-\d+)-")


@dataclass(frozen=True)
class LabelledImage:
    """One image file with its class and patient.

    Attributes:
        path: The file.
        name: Path relative to the data set's folder, with forward slashes.
        label: Class name: the name of the folder it lies in.
        patient: Pseudonym from the file name; the file's stem if the name follows no known
            pattern, so that each such image counts as a patient of its own.
    """

    path: Path
    name: str
    label: str
    patient: str


def patient_of(file_name: str) -> str:
    """Give the patient's pseudonym a file name of the data set carries.

    ``IM-<N>`` and ``NORMAL2-IM-<N>`` are taken for one patient: should they be two, nothing
    is lost but a little freedom of the split.
    """
    for pattern in (_PNEUMONIA_NAME, _NORMAL_NAME):
        if match := pattern.match(file_name):
            return match[1]
    return Path(file_name).stem


def data_root(data: Path) -> Path:
    """Find the folder that holds the splits: ``data``, or the one folder its archive nests.

    Raises:
        DataError: Neither exists.
    """
    if not data.is_dir():
        raise DataError(f"No folder {data}. Give the folder that holds train/, val/ and test/.")
    nested = data / "chest_xray"
    return nested if not (data / "train").is_dir() and nested.is_dir() else data


def list_split(data: Path, split: str, task: Task) -> list[LabelledImage]:
    """List the images of one split folder, sorted by name.

    Args:
        data: Folder that holds the split folders.
        split: Name of a split folder: ``train``, ``val`` or ``test``.
        task: Its classes are the class folders.

    Raises:
        DataError: The folder or a class folder is missing or holds no image.
    """
    root = data_root(data)
    folder = root / split
    if not folder.is_dir():
        found = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folder"
        raise DataError(
            f"No folder {split}/ in {data} (found: {found}). "
            "The layout is train/, val/, test/, each with one folder per class."
        )
    images: list[LabelledImage] = []
    for label in task.classes:
        images += _list_class(root, folder / label, label)
    return images


def _list_class(root: Path, folder: Path, label: str) -> list[LabelledImage]:
    if not folder.is_dir():
        raise DataError(f"The class folder {folder} is missing.")
    images = [
        LabelledImage(path, path.relative_to(root).as_posix(), label, patient_of(path.name))
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not images:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"The class folder {folder} holds no image ({suffixes}).")
    return images
