"""The images of a data set of any layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr.data.dataset import (
    IMAGE_SUFFIXES,
    SPLIT_FOLDERS,
    LabelledImage,
    data_root,
    etiology_of,
    named_sets,
    patient_of,
)
from cxr.data.labels import TASKS
from cxr.errors import DataError

ALL_FOLDER = "all"
"""How the one folder is called of a data set that is not divided."""

BACTERIAL, VIRAL = "BACTERIAL", "VIRAL"


@dataclass(frozen=True)
class Listed:
    """One image file and where it was found.

    ``folder`` is ``train``, ``val``, ``test`` or ``all``, prefixed by the data set's name if there
    are several; ``etiology`` is ``BACTERIAL``, ``VIRAL`` or empty, from the file's name.
    """

    image: LabelledImage
    folder: str
    etiology: str


def list_images(sets: Sequence[Path]) -> list[Listed]:
    """List every image of one or several data sets.

    Understands ``train/CLASS``, ``val/CLASS``, ``test/CLASS``, class folders alone, and images in
    the folder itself, whose name is then their class. DataError if a folder is missing, given twice
    or without images.
    """
    found = [
        listed for prefix, path in named_sets(sets).items() for listed in _list_set(path, prefix)
    ]
    if not found:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"No image ({suffixes}) in {', '.join(map(str, sets))}.")
    return found


def ordered_classes(labels: set[str]) -> list[str]:
    """Sort classes as the first task that knows all does, else by name."""
    for task in TASKS.values():
        if labels <= set(task.classes):
            return [label for label in task.classes if label in labels]
    return sorted(labels)


def _list_set(data: Path, prefix: str) -> list[Listed]:
    root = data_root(data)
    splits = {name: root / name for name in SPLIT_FOLDERS if (root / name).is_dir()}
    rows = []
    for folder, top in (splits or {ALL_FOLDER: root}).items():
        for path in sorted(top.rglob("*")):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
                continue
            inside = path.relative_to(top).parts
            label = inside[0] if len(inside) > 1 else top.resolve().name
            image = LabelledImage(
                path,
                prefix + path.relative_to(root).as_posix(),
                label,
                prefix + patient_of(path.name),
            )
            etiology = label if label in (BACTERIAL, VIRAL) else etiology_of(path.name) or ""
            rows.append(Listed(image, prefix + folder, etiology))
    return rows
