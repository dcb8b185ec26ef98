"""Kinds of split, folds, and several data sets: who is in which part."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cxr.data.dataset import list_split, named_sets
from cxr.data.labels import PNEUMONIA
from cxr.data.split import SplitRow, list_divided, list_pool, select_images, write_split_file
from cxr.errors import DataError, RunError
from cxr.images.decoding import Preprocessing
from export.phantom import encode_png
from tests.training.make_radiograph import make_radiograph
from training.data.samples import Samples, load_samples
from training.data.split import samples_of, split_by_patient
from training.data.split_kinds import folders_of, make_split
from training.recipe import SplitSpec, load_recipe

NORMAL, PNEUMONIA_NAME = PNEUMONIA.classes


def make_samples(counts: dict[str, int], images: int = 2) -> Samples:
    """Samples of so many patients a folder and class, each image with pixels of its own."""
    rows = [
        (f"{folder}/{label}/p{patient}-{image}.png", PNEUMONIA.classes.index(label), patient)
        for folder, count in counts.items()
        for label in PNEUMONIA.classes
        for patient in range(count)
        for image in range(images)
    ]
    numbers = np.arange(len(rows), dtype="<u4")
    return Samples(
        pixels=numbers.view(np.uint8).reshape(-1, 1, 2, 2),
        labels=np.array([label for _, label, _ in rows]),
        names=np.array([name for name, _, _ in rows]),
        patients=np.array([f"{name.split('/')[1]}{patient}" for name, _, patient in rows]),
        sources=np.array([""] * len(rows)),
        populations=np.array([""] * len(rows)),
    )


def with_pixels_of(samples: Samples, copy: str, original: str) -> None:
    at = {str(name): i for i, name in enumerate(samples.names)}
    samples.pixels[at[copy]] = samples.pixels[at[original]]


def part_of(rows: list[SplitRow]) -> dict[str, str]:
    return {row.name: row.part for row in rows}


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_image_is_tested_in_one_fold_and_no_patient_crosses(folds: int) -> None:
    """Also with duplicates between patients; every fold watches patients of its own."""
    samples = make_samples({"train": 31, "val": 2})
    with_pixels_of(samples, "train/NORMAL/p3-0.png", "train/NORMAL/p20-1.png")
    tested: Counter[str] = Counter()
    for fold in range(folds):
        rows = make_split(samples, SplitSpec(folds=folds, fold=fold, val=0.15), 0, PNEUMONIA)
        parts = {name: samples_of(samples, rows, name) for name in ("train", "val", "test")}  # type: ignore[arg-type]
        tested.update(map(str, parts["test"].names))
        for one in parts.values():
            others = [other for other in parts.values() if other is not one]
            assert not set(one.patients) & {p for other in others for p in other.patients}
            digests = {d for other in others for d in other.pixel_digests()}
            assert not set(one.pixel_digests()) & digests
        shares = [len(part) / len(samples) for part in parts.values()]
        assert shares == pytest.approx([1 - 1 / folds - 0.15, 0.15, 1 / folds], abs=0.06)
    assert tested == Counter(map(str, samples.names))


def test_official_keeps_the_folders_and_leaves_out_what_test_holds_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A val folder of a few images joins train; one image of test's pixels is left out."""
    samples = make_samples({"train": 40, "val": 1, "test": 5})
    with_pixels_of(samples, "train/NORMAL/p7-0.png", "test/NORMAL/p1-0.png")
    with caplog.at_level(logging.WARNING):
        parts = part_of(make_split(samples, SplitSpec(kind="official"), 0, PNEUMONIA))
    assert {name for name, part in parts.items() if part == "test"} == {
        str(name) for name in samples.names if str(name).startswith("test/")
    }
    assert "train/NORMAL/p7-0.png" not in parts
    assert "1 images are left out" in caplog.text
    assert len(parts) == len(samples) - 1
    assert sum(part == "val" for part in parts.values()) == pytest.approx(18, abs=3)
    assert parts["val/NORMAL/p0-0.png"] == parts["train/NORMAL/p0-0.png"], "one patient"


def test_official_watches_a_val_folder_that_is_large_enough() -> None:
    """Training images of a patient who is in it are left out."""
    samples = make_samples({"train": 30, "val": 10, "test": 5})
    parts = part_of(make_split(samples, SplitSpec(kind="official"), 0, PNEUMONIA))
    assert all(part == name.split("/")[0] for name, part in parts.items())
    counts = Counter(parts.values())
    assert counts == {"train": 2 * 2 * 20, "val": 40, "test": 20}


def test_official_without_a_test_folder_is_an_error() -> None:
    """Nothing else may be taken for it."""
    with pytest.raises(DataError, match="needs the data set's test folder"):
        make_split(make_samples({"train": 30}), SplitSpec(kind="official"), 0, PNEUMONIA)


def test_80_10_10_pools_all_folders_and_keeps_patients_whole() -> None:
    """Shares hold whatever the recipe's others say, and test's images are in every part."""
    samples = make_samples({"train": 80, "val": 10, "test": 30})
    spec = SplitSpec(kind="patient_80_10_10", val=0.3, test=0.3)
    assert folders_of(spec) == ("train", "val", "test")
    assert folders_of(SplitSpec()) == ("train", "val")
    rows = make_split(samples, spec, 0, PNEUMONIA)
    counts = Counter(row.part for row in rows)
    shares = [counts[part] / len(rows) for part in ("train", "val", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.04)
    assert {row.part for row in rows if row.name.startswith("test/")} == {"train", "val", "test"}
    by_patient = {row.patient: set[str]() for row in rows}
    for row in rows:
        by_patient[row.patient].add(row.part)
    assert all(len(parts) == 1 for parts in by_patient.values())


def test_default_split_is_what_it_was() -> None:
    """Runs that ship were made by it: 20 patients of two images, seed 0."""
    samples = make_samples({"train": 20})
    rows = make_split(samples, SplitSpec(), 0, PNEUMONIA)
    assert rows == split_by_patient(samples, SplitSpec(), 0, PNEUMONIA)
    tested = sorted({row.patient for row in rows if row.part == "test"})
    assert tested == ["NORMAL10", "NORMAL3", "PNEUMONIA1", "PNEUMONIA4"]


@pytest.mark.parametrize(
    ("split", "complaint"),
    [
        ({"folds": 5, "fold": 5}, "fold 5 of 5 does not exist"),
        ({"folds": 1}, "fold 0 of 1 does not exist"),
        ({"kind": "official", "folds": 5}, "has no folds"),
        ({"kind": "by_image"}, "split.kind"),
    ],
)
def test_impossible_splits_are_refused(split: dict[str, object], complaint: str) -> None:
    """The message names what is wrong with the recipe."""
    with pytest.raises(RunError, match=complaint):
        load_recipe("smoke").changed(split=split)


def make_set(root: Path, first: int, patients: int = 6) -> Path:
    for label, word in ((NORMAL, "IM-{:04d}-0001"), (PNEUMONIA_NAME, "person{}_virus_1")):
        for i in range(patients):
            path = root / "train" / label / (word.format(i) + ".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(make_radiograph(first + i + 50 * (label == NORMAL))))
    return root


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two sets with the same file names; one image of the second is that of the first."""
    root = tmp_path_factory.mktemp("sets")
    first, second = make_set(root / "first", 0), make_set(root / "second", 1000)
    copied = "train/NORMAL/IM-0002-0001.png"
    (second / copied).write_bytes((first / "train/NORMAL/IM-0004-0001.png").read_bytes())
    return [first, second]


def test_patients_of_different_sets_differ_but_duplicates_stay_together(
    two_sets: list[Path],
) -> None:
    """Names and patients carry their set; the digest covers both."""
    spec = Preprocessing(size_px=32, min_side_px=16)
    samples = load_samples(list_pool(two_sets, PNEUMONIA), spec, PNEUMONIA, quiet=True)
    assert len(set(samples.names)) == len(set(samples.patients)) == 24
    assert "second/train/NORMAL/IM-0002-0001.png" in samples.names
    for seed in range(4):
        rows = split_by_patient(samples, SplitSpec(val=0.25, test=0.25), seed, PNEUMONIA)
        parts = part_of(rows)
        same = ("first/train/NORMAL/IM-0004-0001.png", "second/train/NORMAL/IM-0002-0001.png")
        assert parts[same[0]] == parts[same[1]]
    alone = load_samples(list_pool(two_sets[:1], PNEUMONIA), spec, PNEUMONIA, quiet=True)
    assert "train/NORMAL/IM-0002-0001.png" in alone.names, "one set's names stay as they are"
    assert alone.data_digest() != samples.data_digest()


def test_parts_of_a_split_over_several_sets_are_found_again(
    two_sets: list[Path], tmp_path: Path
) -> None:
    """The split file names the set; a test folder it names is read, too."""
    images = list_pool(two_sets, PNEUMONIA)
    rows = [SplitRow(one.name, one.label, one.patient, "test") for one in images]
    write_split_file(tmp_path / "split.csv", rows[:5])
    found = select_images(two_sets, "internal-test", PNEUMONIA, tmp_path / "split.csv")
    assert {one.name for one in found} == {one.name for one in images[:5]}
    assert list_divided(two_sets, PNEUMONIA, [images[0].name]) == images
    make_set(tmp_path / "third", 3).joinpath("train").rename(tmp_path / "third/test")
    make_set(tmp_path / "third", 4)
    assert len(list_divided(tmp_path / "third", PNEUMONIA, ["test/NORMAL/x.png"])) == 24
    assert len(list_divided(tmp_path / "third", PNEUMONIA, ["train/NORMAL/x.png"])) == 12


def test_sets_are_named_by_as_much_of_their_folders_as_it_takes(tmp_path: Path) -> None:
    """Two folders of one name take their parents'; the same folder twice is an error."""
    paths = [tmp_path / "a" / "chest", tmp_path / "b" / "chest", tmp_path / "b" / "train"]
    assert list(named_sets(paths[:2])) == ["a-chest/", "b-chest/"]
    assert list(named_sets(paths[1:])) == ["b-chest/", "b-train/"], "train is a split's name"
    assert named_sets(paths[0]) == {"": paths[0]}
    with pytest.raises(DataError, match="exactly once"):
        list_split([paths[0], paths[0]], "train", PNEUMONIA)
