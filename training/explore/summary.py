"""Counts, sizes, grey levels and patients of a collection."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
from numpy.typing import ArrayLike

from training.explore.alike import Pair
from training.explore.findings import (
    Count,
    GreyLevels,
    NearPair,
    Patients,
    SamePixels,
    SharedPatient,
    Sizes,
    Spread,
)
from training.explore.listing import BACTERIAL, VIRAL
from training.explore.reading import Collection

SPREAD_PERCENTILES = (0, 5, 50, 95, 100)
BAND_PERCENTILES = (10, 90)


def _spread_of(values: ArrayLike) -> Spread:
    found = np.percentile(np.asarray(values, dtype=np.float64), SPREAD_PERCENTILES)
    return Spread(**dict(zip(Spread.model_fields, map(float, found), strict=True)))


def count_images(collection: Collection, folders: list[str], classes: list[str]) -> list[Count]:
    """Count images, patients and etiologies of each class in each folder."""
    counts = []
    for folder in folders:
        for label in classes:
            here = (collection.folders == folder) & (collection.labels == label)
            if here.any():
                kinds = collection.etiologies[here]
                counts.append(
                    Count(
                        folder=folder,
                        label=label,
                        images=int(here.sum()),
                        patients=len(set(collection.patients[here])),
                        bacterial=int((kinds == BACTERIAL).sum()),
                        viral=int((kinds == VIRAL).sum()),
                    )
                )
    return counts


def measure_sizes(collection: Collection, classes: list[str]) -> list[Sizes]:
    """Measure the image sizes of each class."""
    names = ("width", "height", "aspect", "file_bytes")
    return [
        Sizes(
            label=label,
            **{
                name: _spread_of(collection.clues[name][collection.labels == label])
                for name in names
            },
        )
        for label in classes
    ]


def measure_grey_levels(collection: Collection, classes: list[str]) -> list[GreyLevels]:
    """Return each class's pixel histogram with its 80 % band."""
    found = []
    for label in classes:
        mine = collection.labels == label
        rows = collection.histograms[mine]
        low, high = np.percentile(rows, BAND_PERCENTILES, axis=0)
        found.append(
            GreyLevels(
                label=label,
                mean=tuple(map(float, rows.mean(axis=0, dtype=np.float64))),
                low=tuple(map(float, low)),
                high=tuple(map(float, high)),
                mean_level=float(collection.clues["mean"][mine].mean()),
            )
        )
    return found


def tell_patients(collection: Collection) -> Patients:
    """Count images per patient, and names in several folders or classes."""
    folders: defaultdict[str, Counter[str]] = defaultdict(Counter)
    classes: defaultdict[str, set[str]] = defaultdict(set)
    for one in collection.listed:
        folders[one.image.patient][one.folder] += 1
        classes[one.image.patient].add(one.image.label)
    totals = [sum(counts.values()) for counts in folders.values()]
    return Patients(
        patients=len(folders),
        images_per_patient=_spread_of(totals),
        by_number_of_images=dict(sorted(Counter(totals).items())),
        in_several_folders=tuple(
            SharedPatient(patient=patient, images=dict(sorted(counts.items())))
            for patient, counts in sorted(folders.items())
            if len(counts) > 1
        ),
        in_several_classes=sum(len(found) > 1 for found in classes.values()),
    )


def tell_same(collection: Collection, group: list[int]) -> SamePixels:
    """Describe a group with the same pixels, and what it crosses."""
    return SamePixels(
        names=tuple(str(name) for name in collection.names[group]), **_crossings(collection, group)
    )


def tell_near(collection: Collection, pair: Pair) -> NearPair:
    """Describe a near-duplicate pair, and what it crosses."""
    both = [pair.first, pair.second]
    first, second = collection.names[both]
    return NearPair(
        first=str(first),
        second=str(second),
        correlation=pair.correlation,
        mirrored=pair.mirrored,
        **_crossings(collection, both),
    )


def _crossings(collection: Collection, indices: list[int]) -> dict[str, bool]:
    def differ(values: ArrayLike) -> bool:
        return len(set(np.asarray(values)[indices])) > 1

    return {
        "crosses_folders": differ(collection.folders),
        "crosses_classes": differ(collection.labels),
        "crosses_patients": differ(collection.patients),
    }
