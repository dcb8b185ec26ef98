"""Tasks of several classes: labels of a data set, the finding, and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cxr.bundles.manifest import TaskSection, task_section
from cxr.data.dataset import list_split
from cxr.data.labels import ETIOLOGY, PNEUMONIA, TERNARY
from cxr.errors import DataError
from cxr.metrics.classes import labels_at, measure_task
from cxr.verdict.decision import probability_of_finding

FILES = {
    "NORMAL": ["IM-0001-0001.jpeg", "NORMAL2-IM-0002-0001.jpeg"],
    "PNEUMONIA": ["person1_bacteria_1.jpeg", "person1_bacteria_2.jpeg", "person2_virus_3.jpeg"],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make the layout of the data set, with empty files."""
    for folder, names in FILES.items():
        (tmp_path / "train" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "train" / folder / name).touch()
    return tmp_path


def test_names_of_files_tell_the_etiology(data: Path) -> None:
    """The folder PNEUMONIA is divided by the names of its files, NORMAL left out or taken."""
    of_etiology = {image.path.name: image.label for image in list_split(data, "train", ETIOLOGY)}
    assert of_etiology == {
        "person1_bacteria_1.jpeg": "BACTERIAL",
        "person1_bacteria_2.jpeg": "BACTERIAL",
        "person2_virus_3.jpeg": "VIRAL",
    }
    labels = [image.label for image in list_split(data, "train", TERNARY)]
    assert labels == ["NORMAL", "NORMAL", "BACTERIAL", "BACTERIAL", "VIRAL"]


def test_folders_called_as_the_classes_are_taken_as_they_are(data: Path) -> None:
    """What lies in a folder VIRAL is viral whatever it is called."""
    for folder, name in (("VIRAL", "a.png"), ("BACTERIAL", "person9_virus_1.jpeg")):
        (data / "train" / folder).mkdir()
        (data / "train" / folder / name).touch()
    found = {image.path.name: image.label for image in list_split(data, "train", ETIOLOGY)}
    assert found == {"a.png": "VIRAL", "person9_virus_1.jpeg": "BACTERIAL"}


def test_untold_etiology_is_left_out_and_said(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file whose name tells nothing is left out; a folder of such files is refused."""
    (data / "train/PNEUMONIA/scan.jpeg").touch()
    assert len(list_split(data, "train", ETIOLOGY)) == 3
    assert "1 of 4 images of PNEUMONIA/ are left out" in caplog.text
    for name in FILES["PNEUMONIA"]:
        (data / "train/PNEUMONIA" / name).unlink()
    with pytest.raises(DataError, match="named person<N>_bacteria"):
        list_split(data, "train", ETIOLOGY)


def test_folder_of_one_etiology_is_no_error(data: Path) -> None:
    """The data set's own val folder holds bacterial pneumonia alone."""
    (data / "train/PNEUMONIA/person2_virus_3.jpeg").unlink()
    assert {image.label for image in list_split(data, "train", ETIOLOGY)} == {"BACTERIAL"}


def test_finding_is_the_sum_of_its_classes() -> None:
    """The probability that is decided on is that of either class of pneumonia."""
    rows = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    assert TERNARY.probabilities(rows) == pytest.approx([0.3, 0.9])
    assert probability_of_finding(TERNARY, {"NORMAL": 0.7, "BACTERIAL": 0.2, "VIRAL": 0.1}) == (
        pytest.approx(0.3)
    )
    assert TERNARY.is_positive(np.array([0, 1, 2])).tolist() == [False, True, True]
    assert PNEUMONIA.probabilities(np.array([[0.2, 0.8]])) == pytest.approx([0.8])


def test_label_follows_the_threshold() -> None:
    """From the threshold on it is the likeliest pneumonia, also where normal is likelier still."""
    rows = np.array([[0.5, 0.2, 0.3], [0.5, 0.3, 0.2], [0.8, 0.1, 0.1]])
    assert labels_at(rows, TERNARY, threshold=0.4).tolist() == [2, 1, 0]
    assert labels_at(rows, TERNARY, threshold=0.6).tolist() == [0, 0, 0]


def test_figures_of_three_classes() -> None:
    """Accuracy and recalls count labels, the finding's figures are those of two classes."""
    labels = np.array([0, 0, 1, 1, 2, 2])
    rows = np.array(
        [
            [0.9, 0.1, 0.0],
            [0.2, 0.5, 0.3],
            [0.1, 0.8, 0.1],
            [0.2, 0.2, 0.6],
            [0.0, 0.1, 0.9],
            [0.9, 0.0, 0.1],
        ]
    )
    found = measure_task(labels, rows, TERNARY, {"p": 0.5}, replicates=20)["p"]
    values = {key: estimate.value for key, estimate in found.items()}
    assert values["class_accuracy"] == pytest.approx(3 / 6)
    assert [values[f"recall_{name}"] for name in TERNARY.classes] == pytest.approx([0.5] * 3)
    assert values["sensitivity"] == pytest.approx(3 / 4)
    # Against the others: normal 5.5 of 8 pairs, bacterial 7 of 8, viral 6 of 8.
    assert values["macro_auroc"] == pytest.approx((5.5 + 6.5 + 6) / 24, abs=0.05)
    assert found["class_accuracy"].low is not None
    two = measure_task(labels[:4], rows[:4, :2], PNEUMONIA, {"p": 0.5}, replicates=0)["p"]
    assert "class_accuracy" not in two


def test_task_of_a_manifest_knows_its_finding() -> None:
    """A task survives the manifest; a finding without classes, or of all of them, is refused."""
    assert task_section(TERNARY).as_task() == TERNARY
    for positives in ((), ("NORMAL", "OTHER")):
        with pytest.raises(ValidationError, match="not a proper subset of the classes"):
            TaskSection(name="t", classes=("NORMAL", "OTHER"), positive="X", positives=positives)
