"""Which labelled images a bundle is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxr.bundles.manifest import Manifest
from cxr.data.dataset import LabelledImage
from cxr.data.external import has_split_folders, list_class_folders, list_csv, read_label_map
from cxr.data.split import SPLIT_NAME, select_images
from cxr.errors import DataError

DEFAULT_SPLIT = "test"


def labelled_images(
    manifest: Manifest,
    *,
    data: Sequence[Path] | None,
    csv: Path | None,
    split: str | None,
    split_file: Path | None,
    label_map: str,
) -> tuple[list[LabelledImage], str]:
    """List images from split folders, class folders alone, or a CSV file.

    Args:
        manifest: Of the bundle; its task has the classes.
        data: Folders of data sets, or None.
        csv: The file, or None.
        split: A split of ``data``; None for the test folder, or class folders alone.
        split_file: For a part of the split by patient; None for that of the shipped run.
        label_map: See :func:`cxr.data.external.read_label_map`.

    Returns:
        The images, and what the report calls them.

    Raises:
        DataError: They are not as they must be, or options contradict each other.
    """
    task, mapped = manifest.task.as_task(), read_label_map(label_map)
    if csv is not None:
        if split is not None:
            raise DataError("A CSV file has no splits: leave --split out.")
        return list_csv(csv, task, mapped), csv.name
    assert data
    if split is None and len(data) == 1 and not has_split_folders(data[0]):
        return list_class_folders(data[0], task, mapped), data[0].resolve().name
    if mapped:
        raise DataError("--label-map goes with a CSV file or with class folders alone.")
    chosen = split or DEFAULT_SPLIT
    rows = split_file or Path("models") / manifest.name / SPLIT_NAME
    return select_images(data, chosen, task, rows), chosen
