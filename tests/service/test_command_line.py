"""``python -m service predict``, and how commands fail."""

from __future__ import annotations

import csv
import socket
from pathlib import Path

import numpy as np
import pytest

from cxr.images.decoding import Preprocessing
from service.__main__ import main
from service.commands.scoring import list_images
from service.images.preparation import prepare_image
from tests.service.make_bundle import (
    MAX_PIXELS,
    MIN_SIDE_PX,
    SIZE_PX,
    make_bundle,
    probabilities_of,
)
from tests.service.make_images import make_dicom, make_flat_png, make_jpeg, make_png
from tests.service.version_tools import IMAGE, make_shelf, probability_in


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with images under all kinds of names, and a file that is none."""
    root = tmp_path / "images"
    (root / "deeper").mkdir(parents=True)
    (root / "a.png").write_bytes(make_png(60))
    (root / "b.jpeg").write_bytes(make_jpeg(170))
    (root / "deeper" / "noname").write_bytes(make_dicom(150))
    (root / "deeper" / "flat.png").write_bytes(make_flat_png(99))
    (root / "README.txt").write_text("not an image")
    (root / ".hidden.png").write_bytes(make_png())
    return root


def predict(bundles: Path, *arguments: str | Path) -> int:
    """Run the predict command."""
    return main(["predict", "--bundles", str(bundles), *map(str, arguments)])


def expected_probability(file: Path) -> str:
    """Give what the table must say."""
    spec = Preprocessing(size_px=SIZE_PX, min_side_px=MIN_SIDE_PX)
    image = prepare_image(file.read_bytes(), spec, MAX_PIXELS)
    return f"{probabilities_of(image.model_input[np.newaxis])[0, 1]:.4f}"


def test_folder_is_scored(
    bundles: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image has its row in the table and in the file, with its own probability."""
    out = tmp_path / "results.csv"
    assert predict(bundles, images, "--out", out) == 0
    with out.open(newline="") as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    table = capsys.readouterr().out
    assert list(rows) == ["a.png", "b.jpeg", "flat.png", "noname"]
    for row in rows.values():
        assert row["probability"] == expected_probability(Path(row["file"]))
        assert row["file"] in table
    assert [row["decision"] for row in rows.values()] == [
        "negative",
        "positive",
        "refer",
        "positive",
    ]


def test_bad_files_are_listed_and_fail_the_command(
    bundles: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are scored all the same."""
    (images / "cut.png").write_bytes(make_png()[:-40])
    assert predict(bundles, images / "cut.png", images / "README.txt", images / "a.png") == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()[-3:]
    assert "truncated or corrupt" in lines[0]
    assert "not a JPEG, PNG or DICOM" in lines[1]
    assert expected_probability(images / "a.png") in lines[2]
    assert "2 of 3 files failed" in captured.err


def test_more_files_than_a_batch(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several batches come back in order."""
    monkeypatch.setenv("CXR_MAX_BATCH", "3")
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(make_png(50 + 20 * i))
    out = tmp_path / "results.csv"
    assert predict(bundles, tmp_path, "--out", out) == 0
    with out.open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["probability"] == expected_probability(Path(row["file"]))


def test_only_the_model_asked_for_is_loaded(tmp_path: Path, images: Path) -> None:
    """A broken bundle beside it does not matter; asked for, it does."""
    make_bundle(tmp_path / "two", "good")
    (make_bundle(tmp_path / "two", "bad") / "MODEL_CARD.md").write_text("changed")
    assert predict(tmp_path / "two", images / "a.png", "--model", "good") == 0
    assert predict(tmp_path / "two", images / "a.png") == 0
    assert predict(tmp_path / "two", images / "a.png", "--model", "bad") == 1


def test_model_and_operating_point_are_chosen(bundles: Path, images: Path, tmp_path: Path) -> None:
    """By name, as over HTTP."""
    out = tmp_path / "results.csv"
    arguments = ("--model", "cnn", "--operating-point", "rule-out", "--out", out)
    assert predict(bundles, images / "a.png", *arguments) == 0
    assert "rule-out" in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such file"),
        (["."], "no image"),
        ([__file__, "--operating-point", "zz"], "balanced, rule-out"),
        ([__file__, "--out", "missing/results.csv"], "cannot write"),
    ],
)
def test_wrong_usage(
    bundles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    """Exit code 2 and one line."""
    monkeypatch.chdir(tmp_path)
    assert predict(bundles, *arguments) == 2
    assert message in capsys.readouterr().err


def test_place_of_results_is_tried_before_the_work(
    bundles: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is scored for a file that cannot be written; trying it changes no file."""
    assert predict(bundles, images / "a.png", "--out", tmp_path) == 2
    assert capsys.readouterr().out == ""
    new, kept = tmp_path / "new.csv", tmp_path / "kept.csv"
    kept.write_text("of yesterday")
    for out in (new, kept):
        wrong = ("--operating-point", "zz", "--out", out)
        assert predict(bundles, images / "a.png", *wrong) == 2
    assert not new.exists()
    assert kept.read_text() == "of yesterday"


def test_argparse_refuses_unknown_options(capsys: pytest.CaptureFixture[str]) -> None:
    """With the same exit code."""
    with pytest.raises(SystemExit) as caught:
        main(["predict", "--nope"])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "predict"])
def test_start_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Neither command shows a traceback for a bundle that was tampered with."""
    (make_bundle(tmp_path) / "MODEL_CARD.md").write_text("changed")
    arguments = ["--port", "0"] if command == "serve" else [__file__]
    assert main([command, *arguments, "--bundles", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "was changed" in error
    assert error.count("\n") == 1


def test_taken_port_is_one_line(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator learns what is in the way before anything is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert main(["--port", port, "--bundles", str(bundles)]) == 1
    error = capsys.readouterr().err
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in error
    assert error.count("\n") == 1


def test_bad_address_is_one_line(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host that is no address of this machine is told as such."""
    assert main(["--host", "203.0.113.1", "--port", "0", "--bundles", str(bundles)]) == 1
    assert "Cannot listen on 203.0.113.1" in capsys.readouterr().err


def test_unknown_variable_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when it comes with a command."""
    monkeypatch.setenv("CXR_NOPE", "1")
    assert main([]) == 1
    assert "CXR_NOPE" in capsys.readouterr().err


def test_list_images_takes_named_files_as_they_are(images: Path) -> None:
    """Only folders are searched by content."""
    files = [images / "README.txt", images / "deeper"]
    names = [path.name for path in list_images(files)]
    assert names == ["README.txt", "flat.png", "noname"]


def test_a_version_is_scored_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``name@version`` takes that one, without it the newest."""
    make_shelf(tmp_path / "shelf", "1.0.0", "2.0.0")
    (tmp_path / "a.png").write_bytes(IMAGE)
    for model, version in (("resnet18@1.0.0", "1.0.0"), ("resnet18", "2.0.0")):
        given = ["--bundles", str(tmp_path / "shelf"), "--model", model]
        assert main(["predict", *given, str(tmp_path / "a.png")]) == 0
        assert f"{probability_in(version):.4f}" in capsys.readouterr().out
