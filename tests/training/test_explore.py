"""The page about a data set: what is planted is found, and nothing else is."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from export.phantom import encode_jpeg, encode_png
from tests.training.make_radiograph import make_radiograph
from training.__main__ import main
from training.explore.explore import render
from training.explore.findings import Exploration, Shortcuts

PATIENTS = 14


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def make_set(root: Path) -> Path:
    """Write a data set with one of everything that may be wrong with one.

    PNEUMONIA is wider by a black border, and nothing else of the file tells the classes apart.
    """
    for i in range(PATIENTS):
        kind = "bacteria" if i % 2 else "virus"
        write(root / f"train/NORMAL/IM-{i:04d}-0001.png", encode_png(make_radiograph(i)))
        wide = np.pad(make_radiograph(100 + i), ((0, 0), (0, 12)))
        write(root / f"train/PNEUMONIA/person{i}_{kind}_1.png", encode_png(wide))
    for i in range(2):
        write(root / f"test/NORMAL/IM-{500 + i}-0001.png", encode_png(make_radiograph(500 + i)))
        write(
            root / f"test/PNEUMONIA/person{600 + i}_virus_1.png",
            encode_png(make_radiograph(600 + i)),
        )
    same = root / "train/NORMAL/IM-0000-0001.png"
    write(root / "test/NORMAL/IM-0000-0002.png", same.read_bytes())
    darker = (0.9 * make_radiograph(3)).astype(np.uint8)
    write(root / "test/NORMAL/IM-0503-0001.jpeg", encode_jpeg(darker))
    write(root / "train/PNEUMONIA/person99_virus_1.jpeg", b"\xff\xd8\xff cut off")
    return root


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exploration, Path]:
    """What the command finds in that set, and the folder it writes."""
    root = tmp_path_factory.mktemp("explore")
    out = root / "page"
    arguments = ["explore", "--data", str(make_set(root / "planted")), "--out", str(out)]
    assert main([*arguments, "--quiet", "--workers", "1"]) == 0
    return Exploration.model_validate_json((out / "exploration.json").read_bytes()), out


def clue(shortcuts: Shortcuts, name: str) -> float:
    value = next(one for one in shortcuts.alone if one.clue == name).auroc.value
    assert value is not None
    return value


def test_images_are_counted_by_folder_class_and_etiology(
    planted: tuple[Exploration, Path],
) -> None:
    """Also the patients; the unreadable file is named and counts nowhere else."""
    found, _ = planted
    counts = {
        (c.folder, c.label): (c.images, c.patients, c.bacterial, c.viral) for c in found.counts
    }
    assert counts == {
        ("train", "NORMAL"): (14, 14, 0, 0),
        ("train", "PNEUMONIA"): (14, 14, 7, 7),
        ("test", "NORMAL"): (4, 4, 0, 0),
        ("test", "PNEUMONIA"): (2, 2, 0, 2),
    }
    assert found.images == 34
    assert list(found.unreadable) == ["train/PNEUMONIA/person99_virus_1.jpeg"]


def test_copies_are_found_and_nothing_else(planted: tuple[Exploration, Path]) -> None:
    """One file with the same pixels, one darkened and encoded anew; no two phantoms else."""
    found, _ = planted
    (same,) = found.same_pixels
    assert set(same.names) == {"train/NORMAL/IM-0000-0001.png", "test/NORMAL/IM-0000-0002.png"}
    assert (same.crosses_folders, same.crosses_classes, same.crosses_patients) == (
        True,
        False,
        False,
    )
    (near,) = found.near
    assert {near.first, near.second} == {
        "train/NORMAL/IM-0003-0001.png",
        "test/NORMAL/IM-0503-0001.jpeg",
    }
    assert near.crosses_patients
    assert near.crosses_folders


def test_patients_of_several_folders_are_named(planted: tuple[Exploration, Path]) -> None:
    """One patient of the train folder has an image in test."""
    (shared,) = planted[0].patients.in_several_folders
    assert shared.patient == "IM-0000"
    assert shared.images == {"train": 1, "test": 1}


def test_planted_shortcut_is_perfect_and_others_are_chance(
    planted: tuple[Exploration, Path],
) -> None:
    """Width tells pneumonia, whose images in train are all wider; it does not tell etiology."""
    finding, etiology = planted[0].shortcuts
    assert finding.question == "PNEUMONIA against NORMAL"
    assert clue(finding, "width") == clue(finding, "aspect") == 1.0
    assert clue(finding, "height") == 0.5
    assert clue(finding, "corner_marks") < 0.75
    assert finding.together is not None
    assert finding.together.value == 1.0
    assert (finding.positives, finding.negatives) == (14, 14), "test takes no part"
    assert etiology.question == "BACTERIAL against VIRAL"
    assert clue(etiology, "width") == 0.5
    assert next(one for one in etiology.alone if one.clue == "width").larger_in is None


def test_page_shows_what_the_file_says(planted: tuple[Exploration, Path]) -> None:
    """The page made of the JSON is the page; each image has its row."""
    found, out = planted
    page = (out / "exploration.html").read_text()
    figures = {}
    for part in page.split('<section id="')[1:]:
        if 'src="' in part:
            figures[part.split('"')[0]] = part.split('src="')[1].split('"')[0]
    assert set(figures) >= {"counts", "sizes", "grey_levels", "examples", "edges", "near"}
    assert render(found, figures) == page
    assert all((out / f"{name}.png").is_file() for name in figures)
    with (out / "images.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert len(rows) == found.images
    assert rows["train/PNEUMONIA/person1_bacteria_1.png"]["width"] == "172"


def test_any_folders_and_several_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Class folders of any name, or none; the same set twice is refused."""
    for name in ("a/OTHER/1.png", "a/THING/2.png", "b/3.png", "b/4.png"):
        write(tmp_path / name, encode_png(make_radiograph(sum(map(ord, name)))))
    both = ["--data", str(tmp_path / "a"), "--data", str(tmp_path / "b")]
    assert main(["explore", *both, "--out", str(tmp_path / "page"), "--quiet"]) == 0
    found = Exploration.model_validate_json((tmp_path / "page/exploration.json").read_bytes())
    assert found.classes == ("OTHER", "THING", "b")
    assert found.folders == ("a/all", "b/all")
    assert main(["explore", *both[:2], *both[:2], "--out", str(tmp_path / "2"), "--quiet"]) == 1
    assert "exactly once" in capsys.readouterr().err
