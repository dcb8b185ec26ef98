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


def is_table(data: Path) -> bool:
    """Return whether a data set is a CSV file."""
    return data.suffix.lower() == ".csv"


def name_of_table(file: Path) -> str:
    """Return the name that the images of a CSV file carry: its folder's."""
    return file.resolve().parent.name


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
    root, mapped = data_root(data), label_map or {}
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
    """List the images of a CSV file; their source, if none is stated, is its folder's name.

    ``label_map`` is None where none can be given.

    Raises:
        DataError: The file cannot be read, a column is missing, a row is incomplete, has an unknown
            label or lists a file that is listed twice or does not exist.
    """
    rows, folder = _read_rows(file), name_of_table(file)
    images: list[LabelledImage] = []
    missing: list[str] = []
    lines: dict[Path, int] = {}
    for number, row in rows:
        where = f"{file}, line {number},"
        if not row["path"] or not row["label"]:
            raise DataError(f"{where} has no {'label' if row['path'] else 'path'}. Complete it.")
        label = _class_of(row["label"], where, task, label_map)
        if not label:
            continue
        path = file.parent / row["path"]
        if not path.is_file():
            missing.append(f"{row['path']} in line {number}")
            continue
        if (first := lines.setdefault(path.resolve(), number)) != number:
            raise DataError(f"{file} lists one file in lines {first} and {number}. Remove one.")
        images.append(
            LabelledImage(
                path,
                row["path"],
                label,
                row.get("patient") or patient_of(path.name),
                row.get("source") or folder,
                row.get("population", ""),
            )
        )
    if missing:
        raise DataError(
            f"{file} lists {len(missing)} of {len(rows)} files that do not exist, the first being "
            f"{missing[0]}. Paths are relative to the folder of the CSV file."
        )
    if not images:
        raise DataError(f"{file} lists no image of the classes {', '.join(task.classes)}.")
    return images


def _read_rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the rows, each with the number of its line, without blanks around their fields."""
    if not file.is_file():
        raise DataError(f"No file {file}.")
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.reader(handle, strict=True)
            columns = _columns_of(file, next(reader, []))
            rows = []
            for fields in reader:
                if not fields:  # an empty line
                    continue
                if len(fields) != len(columns):
                    raise DataError(
                        f"{file}, line {reader.line_num}, has {len(fields)} fields, the first line "
                        f"{len(columns)}. Quote fields that hold commas."
                    )
                stripped = (field.strip() for field in fields)
                rows.append((reader.line_num, dict(zip(columns, stripped, strict=True))))
            return rows
    except UnicodeDecodeError:
        raise DataError(
            f"{file} is not UTF-8. Save it as CSV UTF-8, as spreadsheets call it."
        ) from None
    except csv.Error as error:
        raise DataError(f"{file} is not a CSV file (line {reader.line_num}: {error}).") from None


def _columns_of(file: Path, names: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in names]
    columns = [SYNONYMS.get(name, name) for name in columns]
    if missing := [name for name in REQUIRED_COLUMNS if name not in columns]:
        raise DataError(
            f"{file} has no column {', '.join(missing)}, but: {', '.join(names) or 'none'}. "
            "Columns are divided by commas, and named in the first line."
        )
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise DataError(f"{file} has the column {twice[0]} twice, or under both its names.")
    return columns


def _class_of(label: str, where: str, task: Task, label_map: Mapping[str, str] | None) -> str:
    found = (label_map or {}).get(label, label)
    if found and found not in task.classes:
        hint = (
            "Rename it there, or leave it out."
            if label_map is None
            else f"Map it to a class (--label-map {label}=CLASS) or leave it out ({label}=)."
        )
        raise DataError(
            f"{where} has the label {label!r}, which is not one of {', '.join(task.classes)}. "
            f"{hint}"
        )
    return found
