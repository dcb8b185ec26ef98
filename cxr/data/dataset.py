"""Labelled images on disk, in the layout of Kaggle's "Chest X-Ray Images (Pneumonia)".

::

    DIR/train/NORMAL/*.jpeg   DIR/train/PNEUMONIA/*.jpeg   (val/ and test/ alike)

File names, or class folders of their own, tell bacterial from viral pneumonia.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from cxr.data.labels import Task
from cxr.errors import DataError

log = logging.getLogger(__name__)

DataSets: TypeAlias = Path | Sequence[Path]
"""The folder of one data set, or those of several."""

SPLIT_FOLDERS = ("train", "val", "test")

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".dcm"})

# person<N>_bacteria_<M>.jpeg, person<N>_virus_<M>.jpeg; IM-<N>-<M>.jpeg, NORMAL2-IM-<N>-<M>.jpeg;
# synthetic<N>_bacteria_<M>.jpeg and so on, of python -m training synthesize
_PNEUMONIA_NAME = re.compile(r"^((?:person|synthetic)\d+)_(bacteria|virus)_")
_NORMAL_NAME = re.compile(r"^(?:NORMAL2-)?(IM-\d+)-")
_SYNTHETIC_NAME = re.compile(r"^(synthetic\d+)_")

_ETIOLOGIES = {"BACTERIAL": "bacteria", "VIRAL": "virus"}
_UNDIVIDED = "PNEUMONIA"  # the folder whose file names tell the etiology


@dataclass(frozen=True)
class LabelledImage:
    """One image file with its class and patient.

    Attributes:
        path: The file.
        name: Path relative to the data set's folder, with forward slashes.
        label: Class name.
        patient: Pseudonym from the file name; its stem if it follows no known pattern.
        source: Data set or part of one; empty if unknown.
        population: Of patients; empty if not stated.
    """

    path: Path
    name: str
    label: str
    patient: str
    source: str = ""
    population: str = ""


def patient_of(file_name: str) -> str:
    """Return the patient's pseudonym from a file name of the data set.

    ``IM-<N>`` and ``NORMAL2-IM-<N>`` are taken for one patient, which at worst restricts the split.
    """
    for pattern in (_PNEUMONIA_NAME, _NORMAL_NAME, _SYNTHETIC_NAME):
        if match := pattern.match(file_name):
            return match[1]
    return Path(file_name).stem


def paths_of(data: DataSets) -> list[Path]:
    """Return the data sets as a list, of one if there is but one."""
    return [data] if isinstance(data, Path) else list(data)


def named_sets(data: DataSets) -> dict[str, Path]:
    """Return the folders by the prefix of their images' and patients' names, empty for one set.

    Raises:
        DataError: The same folder is given twice, or none.
    """
    folders = paths_of(data)
    parts = [path.resolve().parts[1:] for path in folders]
    if not folders or len(set(parts)) < len(parts):
        raise DataError("Name the folder of each data set exactly once.")
    if len(folders) == 1:
        return {"": folders[0]}
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["-".join(path[-depth:]) for path in parts]
        if len(set(names)) == len(names) and not set(names) & set(SPLIT_FOLDERS):
            break
    return {f"{name}/": path for name, path in zip(names, folders, strict=True)}


def data_root(data: Path) -> Path:
    """Return ``data``, or the one folder its archive nests; DataError if neither exists."""
    if not data.is_dir():
        raise DataError(f"No folder {data}. Give the folder that holds train/, val/ and test/.")
    nested = data / "chest_xray"
    return nested if not (data / "train").is_dir() and nested.is_dir() else data


def list_split(data: DataSets, split: str, task: Task) -> list[LabelledImage]:
    """List the images of one split folder, sorted by name; DataError if one is missing."""
    return list_splits(data, (split,), task)


def list_splits(
    data: DataSets, splits: Sequence[str], task: Task, optional: Sequence[str] = ()
) -> list[LabelledImage]:
    """List the images of several split folders; a data set may lack the ``optional`` ones.

    Raises:
        DataError: A folder or a class folder is missing or holds no image.
    """
    return [
        replace(
            image,
            name=prefix + image.name,
            patient=prefix + image.patient,
            source=data_root(path).resolve().name,
        )
        for prefix, path in named_sets(data).items()
        for split in splits
        if split not in optional or (data_root(path) / split).is_dir()
        for image in _list_folder(path, split, task)
    ]


def _list_folder(data: Path, split: str, task: Task) -> list[LabelledImage]:
    root = data_root(data)
    folder = root / split
    if not folder.is_dir():
        found = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folder"
        raise DataError(
            f"No folder {split}/ in {data} (found: {found}). "
            "The layout is train/, val/, test/, each with one folder per class."
        )
    return [image for label in task.classes for image in list_label(root, folder, label)]


def list_label(root: Path, folder: Path, label: str) -> list[LabelledImage]:
    """List the images of one class, by folder or, for an etiology, by name."""
    if label in _ETIOLOGIES and not (folder / label).is_dir():
        return _list_etiology(root, folder / _UNDIVIDED, label)
    return list_class(root, folder / label, label)


def etiology_of(file_name: str) -> str | None:
    """Return the class, ``BACTERIAL`` or ``VIRAL``, that a file's name tells."""
    match = _PNEUMONIA_NAME.match(file_name)
    return next((name for name, word in _ETIOLOGIES.items() if match and match[2] == word), None)


def etiology_word(label: str) -> str | None:
    """Return the word in a file's name that tells a class, None for other classes."""
    return _ETIOLOGIES.get(label)


def _list_etiology(root: Path, folder: Path, label: str) -> list[LabelledImage]:
    found = list_class(root, folder, label)
    told = {image.name: etiology_of(image.path.name) for image in found}
    if untold := [name for name, etiology in told.items() if etiology is None]:
        log.warning(
            "%d of %d images of %s/ are left out: their names do not tell bacteria from virus, "
            "the first is %s",
            *(len(untold), len(found), folder.name, untold[0]),
        )
    if not any(told.values()):
        raise DataError(
            f"No file in {folder} is named person<N>_bacteria_<M> or person<N>_virus_<M>, and "
            f"there is no folder {label} beside it."
        )
    return [image for image in found if told[image.name] == label]


def list_class(root: Path, folder: Path, label: str) -> list[LabelledImage]:
    """List the images in and below a folder; DataError if there is none."""
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
