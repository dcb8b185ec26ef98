"""Labelled images for external validation.

::

    DIR/NORMAL/*  DIR/PNEUMONIA/*          class folders alone, one of them at least
    FILE.csv: path,label[,patient,source,population]    paths relative to the file

``file`` stands for ``path`` and ``set`` for ``source``.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from cxr.data.dataset import (
    SPLIT_FOLDERS,
    LabelledImage,
    data_root,
    list_class,
    list_label,
    patient_of,
)
from cxr.data.labels import Task
from cxr.errors import DataError

REQUIRED_COLUMNS = ("path", "label")
SYNONYMS = {"file": "path", "set": "source"}


def read_label_map(text: str) -> dict[str, str]:
    """Read ``HEALTHY=NORMAL,OTHER=``: classes by label, none for those left out."""
    pairs = [one.partition("=") for one in text.split(",") if one.strip()]
    if any(not name.strip() or not equals for name, equals, _ in pairs):
        raise DataError(f"{text!r} is not a label map: LABEL=CLASS, with commas between.")
    return {name.strip(): label.strip() for name, _, label in pairs}


def has_split_folders(data: Path) -> bool:
    """Return whether a data set is divided into train/, val/ or test/."""
    root = data_root(data)
    return any((root / folder).is_dir() for folder in SPLIT_FOLDERS)


def list_class_folders(
    data: Path, task: Task, label_map: Mapping[str, str] | None = None
) -> list[LabelledImage]:
    """List the images of a folder that holds class folders.

    Raises:
        DataError: There is none, or an unknown one that is not in ``label_map``.
    """
    root, mapped = data_root(data), dict(label_map or {})
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    images: list[LabelledImage] = []
    if not mapped and not {path.name for path in folders} & set(task.classes):
        return [one for label in task.classes for one in list_label(root, root, label)]
    for folder in folders:
        if label := _class_of(folder.name, str(data), task, mapped):
            images += list_class(root, folder, label)
    if not images:
        raise DataError(f"{data} has no class folder: none of {', '.join(task.classes)}.")
    return images


def list_csv(
    file: Path, task: Task, label_map: Mapping[str, str] | None = None
) -> list[LabelledImage]:
    """List the images of a CSV file.

    Raises:
        DataError: A column is missing, a label is unknown, or a file does not exist.
    """
    if not file.is_file():
        raise DataError(f"No file {file}.")
    with file.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        columns = [SYNONYMS.get(name, name) for name in reader.fieldnames or ()]
        if missing := set(REQUIRED_COLUMNS) - set(columns):
            raise DataError(f"{file} has no column {', '.join(sorted(missing))}.")
        reader.fieldnames = columns
        rows = list(reader)
    images = []
    for row in rows:
        path = file.parent / row["path"]
        if label := _class_of(row["label"], str(file), task, dict(label_map or {})):
            if not path.is_file():
                raise DataError(f"{file} lists {row['path']}, which does not exist.")
            patient = row.get("patient") or patient_of(path.name)
            source, population = row.get("source") or "", row.get("population") or ""
            images.append(LabelledImage(path, row["path"], label, patient, source, population))
    if not images:
        raise DataError(f"{file} lists no image of the classes {', '.join(task.classes)}.")
    return images


def _class_of(label: str, where: str, task: Task, label_map: Mapping[str, str]) -> str:
    found = label_map.get(label, label)
    if found and found not in task.classes:
        raise DataError(
            f"{where} has the label {label!r}, which is not one of {', '.join(task.classes)}. "
            f"Map it to a class (--label-map {label}=CLASS) or leave it out ({label}=)."
        )
    return found
