"""Divide samples into train, val and test so that no patient and no duplicate crosses."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cxr.data.labels import Task
from cxr.data.split import PARTS, Part, SplitRow
from cxr.errors import DataError
from training.data.samples import Samples
from training.recipe import SplitSpec

log = logging.getLogger(__name__)


def group_samples(patients: Sequence[str], digests: Sequence[str]) -> NDArray[np.int64]:
    """Number the groups that share a patient or pixels, directly or through others.

    Args:
        patients: Shape (N,).
        digests: Shape (N,), equal for duplicates.

    Returns:
        Shape (N,), the lowest index in each sample's group.
    """
    parent = list(range(len(patients)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, keys in enumerate(zip(patients, digests, strict=True)):
        for key in (f"patient {keys[0]}", f"pixels {keys[1]}"):
            low, high = sorted((root(i), root(first.setdefault(key, i))))
            parent[high] = low
    return np.array([root(i) for i in range(len(parent))], dtype=np.int64)


def split_by_patient(samples: Samples, spec: SplitSpec, seed: int, task: Task) -> list[SplitRow]:
    """Assign each group of samples to a part.

    Groups are ordered by a hash of patient and seed and dealt out source by source and class by
    class, so every part has its share of each and the order of files does not matter.

    Raises:
        DataError: A part would lack a class.
    """
    groups = group_samples(list(samples.patients), samples.pixel_digests())
    parts: dict[int, Part] = {}
    for source, label in product(sorted(set(samples.sources)), range(len(task.classes))):
        # A group with images of several classes is dealt with the first of them.
        chosen = (samples.sources == source) & (samples.labels == label)
        of_label = {g for g in groups[chosen] if g not in parts}
        ordered = sorted(
            of_label,
            key=lambda g: hashlib.sha256(f"{seed} {samples.patients[g]}".encode()).digest(),
        )
        parts |= _deal({g: int((groups == g).sum()) for g in ordered}, spec)
    rows = [
        SplitRow(str(name), task.classes[label], str(patient), parts[group])
        for name, label, patient, group in zip(
            samples.names, samples.labels, samples.patients, groups, strict=True
        )
    ]
    verify_classes(rows, has_test=spec.test > 0 or spec.folds > 0, task=task)
    return rows


def _deal(sizes: dict[int, int], spec: SplitSpec) -> dict[int, Part]:
    """Assign groups, in order, until test and val have their shares.

    In a cross-validation the groups of the fold are the test part, whatever ``spec.test`` says, and
    the next groups are val. ``sizes`` holds the images of each group.
    """
    total = sum(sizes.values())
    test_end, val_end = _whole(spec.test * total), _whole((spec.test + spec.val) * total)
    ordered = list(sizes)
    if spec.folds:
        before = np.cumsum([0, *sizes.values()])[:-1]
        fold_of = dict(zip(ordered, before * spec.folds // max(total, 1), strict=True))
        ordered.sort(key=lambda g: (fold_of[g] - spec.fold) % spec.folds)
        test_end = sum(size for g, size in sizes.items() if fold_of[g] == spec.fold)
        val_end = _whole(test_end + spec.val * total)
    parts: dict[int, Part] = {}
    seen = 0
    for group in ordered:
        parts[group] = "test" if seen < test_end else "val" if seen < val_end else "train"
        seen += sizes[group]
    return parts


def split_as_before(samples: Samples, before: Sequence[SplitRow], task: Task) -> list[SplitRow]:
    """Assign samples by an existing split, possibly made for another task.

    Samples that the split does not name are left out with a warning.

    Raises:
        DataError: A part would lack a class.
    """
    part_of = {row.name: row.part for row in before}
    rows = [
        SplitRow(str(name), task.classes[label], str(patient), part_of[str(name)])
        for name, label, patient in zip(
            samples.names, samples.labels, samples.patients, strict=True
        )
        if str(name) in part_of
    ]
    if left_out := len(samples) - len(rows):
        log.warning("%d of %d images are left out: not in the split", left_out, len(samples))
    verify_classes(rows, has_test=any(row.part == "test" for row in before), task=task)
    return rows


def _whole(count: float) -> int:
    return math.ceil(count - 1e-9)  # 0.3 * 100 is a little more than 30


def verify_classes(rows: Sequence[SplitRow], *, has_test: bool, task: Task) -> None:
    """Check that every part has every class.

    Raises:
        DataError: A part lacks one.
    """
    for part in PARTS:
        if part == "test" and not has_test:
            continue
        missing = set(task.classes) - {row.label for row in rows if row.part == part}
        if missing:
            raise DataError(
                f"The {part} part would have no image of {', '.join(sorted(missing))}: "
                "there are too few patients. Add images or change the recipe's [split]."
            )


def samples_of(samples: Samples, rows: Sequence[SplitRow], part: Part) -> Samples:
    """Return the samples of one part. Rows without a sample (now unreadable) are skipped."""
    wanted = {row.name for row in rows if row.part == part}
    return samples.take(np.flatnonzero([str(name) in wanted for name in samples.names]))
