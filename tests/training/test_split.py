"""No patient and no duplicate crosses the parts."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from cxr.data.labels import PNEUMONIA
from cxr.data.split import list_pool
from cxr.errors import DataError
from cxr.images.decoding import Preprocessing
from training.data.samples import Samples, load_samples
from training.data.split import group_samples, samples_of, split_by_patient
from training.recipe import SplitSpec


def make_samples(patients: list[str], labels: list[int], pixels: list[int]) -> Samples:
    return Samples(
        pixels=np.array(pixels, "<u4").view(np.uint8).reshape(-1, 1, 2, 2),
        labels=np.array(labels),
        names=np.array([f"{i:04d}" for i in range(len(patients))]),
        patients=np.array(patients),
        sources=np.array([""] * len(patients)),
        populations=np.array([""] * len(patients)),
    )


def test_groups_join_through_patients_and_duplicates() -> None:
    """a-b share a patient, b-c share pixels: all three stay together."""
    assert group_samples(["p", "p", "q", "r"], ["1", "2", "2", "3"]).tolist() == [0, 0, 0, 3]


def test_no_group_crosses_and_shares_are_kept() -> None:
    """With 400 samples of 200 patients the parts have about their shares of each class."""
    rng = np.random.default_rng(0)
    patients = [f"p{i // 2}" for i in range(400)]
    labels = [int(i % 20 > 5) for i in range(0, 400, 2) for _ in range(2)]
    samples = make_samples(patients, labels, rng.integers(0, 4000, 400).tolist())
    rows = split_by_patient(samples, SplitSpec(val=0.2, test=0.2), 0, PNEUMONIA)
    parts = defaultdict(set)
    for row, digest in zip(rows, samples.pixel_digests(), strict=True):
        parts[row.patient].add(row.part)
        parts[digest].add(row.part)
    assert len(set(samples.pixel_digests())) < 400, "some are duplicates"
    assert all(len(found) == 1 for found in parts.values())


def test_shares_of_each_class() -> None:
    """Every part has its share of the images of every class."""
    labels = [0] * 100 + [1] * 300
    samples = make_samples([f"p{i}" for i in range(400)], labels, list(range(400)))
    rows = split_by_patient(samples, SplitSpec(val=0.1, test=0.2), 0, PNEUMONIA)
    counts = {
        (part, label): sum(r.part == part and r.label == label for r in rows)
        for part in ("train", "val", "test")
        for label in PNEUMONIA.classes
    }
    assert counts["val", "NORMAL"] == 10
    assert counts["test", "PNEUMONIA"] == 60
    assert sum(counts.values()) == 400


def test_split_does_not_depend_on_order_but_on_seed() -> None:
    """The same images in another order give the same split; another seed gives another."""
    patients, labels = [f"p{i}" for i in range(60)], [i % 2 for i in range(60)]
    samples = make_samples(patients, labels, list(range(60)))
    shuffled = samples.take(np.random.default_rng(0).permutation(60))
    spec = SplitSpec(val=0.2, test=0.2)
    rows = split_by_patient(samples, spec, 0, PNEUMONIA)
    again = split_by_patient(shuffled, spec, 0, PNEUMONIA)
    assert sorted(rows, key=lambda r: r.name) == sorted(again, key=lambda r: r.name)
    assert rows != split_by_patient(samples, spec, 1, PNEUMONIA)


def test_too_few_patients_are_an_error() -> None:
    """A part without a class cannot be measured, and the message says what to do."""
    samples = make_samples(["a", "b"], [0, 1], [0, 1])
    with pytest.raises(DataError, match="too few patients"):
        split_by_patient(samples, SplitSpec(), 0, PNEUMONIA)


def test_real_data_set_splits_without_a_crossing(shared_data: Path) -> None:
    """On the real set: no patient and none of its exact duplicates in two parts."""
    images = list_pool(shared_data / "chest_xray", PNEUMONIA)
    spec = Preprocessing(size_px=64, min_side_px=32)
    samples = load_samples(images, spec, PNEUMONIA, quiet=True)
    rows = split_by_patient(samples, SplitSpec(), 0, PNEUMONIA)
    parts = {part: samples_of(samples, rows, part) for part in ("train", "val", "test")}  # type: ignore[arg-type]
    assert sum(map(len, parts.values())) == len(images) == 5232
    for kind in ("patients", "digests"):
        sets = [
            set(p.patients if kind == "patients" else p.pixel_digests()) for p in parts.values()
        ]
        assert not sets[0] & sets[1]
        assert not sets[0] & sets[2]
        assert not sets[1] & sets[2]
