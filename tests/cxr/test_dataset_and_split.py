"""The Kaggle layout and the split by patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr.data.dataset import data_root, list_split, patient_of
from cxr.data.labels import PNEUMONIA
from cxr.data.split import SplitRow, read_split_file, select_images, write_split_file
from cxr.errors import DataError


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person12_bacteria_46.jpeg", "person12"),
        ("person12_virus_47.jpeg", "person12"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0539-0001-0002.jpeg", "IM-0539"),
        ("NORMAL2-IM-0115-0001.jpeg", "IM-0115"),
        ("my scan.png", "my scan"),
    ],
)
def test_patient_is_read_from_the_file_name(name: str, patient: str) -> None:
    """Names of the data set carry a patient; others stand for one each."""
    assert patient_of(name) == patient


def test_layout_is_listed_by_class(toy_data: Path) -> None:
    """Every image has the label of its folder and a name relative to the data set."""
    images = list_split(toy_data, "test", PNEUMONIA)
    assert len(images) == 24
    assert {image.label for image in images} == {"NORMAL", "PNEUMONIA"}
    assert images[0].name == "test/NORMAL/IM-0000-0000.jpeg"


def test_nested_archive_folder_is_found(toy_data: Path, tmp_path: Path) -> None:
    """The archive unpacks into chest_xray/; its parent will do as well."""
    (tmp_path / "chest_xray").symlink_to(toy_data)
    assert data_root(tmp_path) == tmp_path / "chest_xray"


def test_wrong_folders_are_named(toy_data: Path, tmp_path: Path) -> None:
    """Missing folder, split, class and images each have a message that names the place."""
    with pytest.raises(DataError, match=r"No folder .*nowhere"):
        list_split(tmp_path / "nowhere", "train", PNEUMONIA)
    with pytest.raises(DataError, match=r"No folder val/ .*found: test, train"):
        list_split(toy_data, "val", PNEUMONIA)
    (tmp_path / "train" / "NORMAL").mkdir(parents=True)
    with pytest.raises(DataError, match="NORMAL holds no image"):
        list_split(tmp_path, "train", PNEUMONIA)
    (tmp_path / "train" / "NORMAL" / "a.png").touch()
    with pytest.raises(DataError, match="PNEUMONIA is missing"):
        list_split(tmp_path, "train", PNEUMONIA)


def test_split_file_is_read_back(tmp_path: Path) -> None:
    """Writing and reading gives the same rows, sorted."""
    rows = [SplitRow("b", "NORMAL", "p", "val"), SplitRow("a", "PNEUMONIA", "q", "train")]
    write_split_file(tmp_path / "split.csv", rows)
    assert read_split_file(tmp_path / "split.csv") == rows[::-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [("a,b\n1,2\n", "not a split file"), ("name,label,patient,part\na,b,c,d\n", "names a part")],
)
def test_another_file_is_no_split_file(content: str, message: str, tmp_path: Path) -> None:
    """Columns and parts are checked."""
    (tmp_path / "split.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_split_file(tmp_path / "split.csv")


def test_internal_part_needs_its_images(toy_data: Path, tmp_path: Path) -> None:
    """A split file of another data set is not scored in part."""
    write_split_file(tmp_path / "s.csv", [SplitRow("train/NORMAL/no.jpeg", "NORMAL", "x", "test")])
    with pytest.raises(DataError, match="1 of 1 images of internal-test are not in"):
        select_images(toy_data, "internal-test", PNEUMONIA, tmp_path / "s.csv")
    with pytest.raises(DataError, match="needs the run's split file"):
        select_images(toy_data, "internal-test", PNEUMONIA, None)
