"""Typical, atypical and lookalike images by :func:`cxr.images.layout.describe_layout`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr.images.layout import describe_layout
from training.explore.findings import Examples, Lookalike
from training.explore.reading import Collection

SHOWN = 4
LOOKALIKES = 6
BLOCK = 1024


def layouts_of(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return unit descriptors (N, 1024) of thumbnails (N, 64, 64)."""
    rows = np.stack([describe_layout(one[np.newaxis]) for one in thumbnails])
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def choose_examples(
    collection: Collection, layouts: NDArray[np.float32], classes: list[str]
) -> list[Examples]:
    """Choose each class's medoid, images like it, and its outliers, one per patient.

    The medoid has the largest mean similarity: for unit vectors, the product with their mean.
    """
    found = []
    for label in classes:
        mine = np.flatnonzero(collection.labels == label)
        likeness = layouts[mine] @ layouts[mine].mean(axis=0)
        order = _one_per_patient(mine[np.argsort(-likeness, kind="stable")], collection)
        names = [str(name) for name in collection.names[order]]
        outliers = names[SHOWN:][::-1][: SHOWN - 1]
        found.append(
            Examples(
                label=label,
                medoid=names[0],
                typical=tuple(names[1:SHOWN]),
                atypical=tuple(outliers),
            )
        )
    return found


def find_lookalikes(collection: Collection, layouts: NDArray[np.float32]) -> list[Lookalike]:
    """Find the most similar pairs of different classes, each image in one pair."""
    _, label = np.unique(collection.labels, return_inverse=True)
    if len(set(label)) < 2:
        return []
    best: set[tuple[float, int, int]] = set()
    for start in range(0, len(layouts), BLOCK):
        likeness = layouts[start : start + BLOCK] @ layouts.T
        likeness[label[start : start + BLOCK, None] == label[None]] = -1.0
        nearest = likeness.argmax(axis=1)
        rows = np.arange(len(nearest))
        best |= {
            (float(likeness[row, other]), min(start + row, other), max(start + row, other))
            for row, other in zip(rows.tolist(), nearest.tolist(), strict=True)
        }
    pairs: list[Lookalike] = []
    used: set[int] = set()
    for product, first, second in sorted(best, reverse=True):
        if len(pairs) < LOOKALIKES and not used & {first, second}:
            used |= {first, second}
            names = collection.names
            pairs.append(
                Lookalike(
                    first=str(names[first]),
                    second=str(names[second]),
                    first_label=collection.listed[first].image.label,
                    second_label=collection.listed[second].image.label,
                    correlation=min(1.0, product),
                )
            )
    return pairs


def _one_per_patient(order: NDArray[np.int64], collection: Collection) -> NDArray[np.int64]:
    _, first = np.unique(collection.patients[order], return_index=True)
    return np.asarray(order[np.sort(first)])
