"""The sheet of radiographs and heatmaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.__main__ import main
from training.heatmaps.sheet import Shown, draw_sheet


def make_arguments(run: Path, data: Path, out: Path) -> list[str]:
    arguments = ["gradcam", "--run", str(run), "--data", str(data), "--n", "6"]
    return [*arguments, "--out", str(out), "--device", "cpu"]


def test_command_draws_the_same_sheet_again(
    smoke_run: Path, toy_data: Path, tmp_path: Path
) -> None:
    """A PNG file, byte for byte the same for the same seed, and another for another method."""
    arguments = make_arguments(smoke_run, toy_data, tmp_path / "new" / "sheet.png")
    assert main(arguments) == 0
    first = (tmp_path / "new" / "sheet.png").read_bytes()
    assert main(arguments) == 0
    assert (tmp_path / "new" / "sheet.png").read_bytes() == first
    assert main([*arguments, "--method", "layercam", "--target", "NORMAL"]) == 0
    assert (tmp_path / "new" / "sheet.png").read_bytes() != first
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_sheet_names_what_it_shows() -> None:
    """Each image has its class and probability, its own aspect ratio, and an overlay beside it."""
    wide, tall = np.full((50, 100), 90, np.uint8), np.full((100, 50), 90, np.uint8)
    heat = np.eye(7, dtype=np.float32)
    shown = [Shown(wide, heat, "NORMAL", 0.125), Shown(tall, heat, "PNEUMONIA", 0.875)]
    figure = draw_sheet(shown, "resnet18 1.0.0, gradcam. Research use only", "PNEUMONIA")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [
        "labelled NORMAL", "PNEUMONIA 0.125", "labelled PNEUMONIA", "PNEUMONIA 0.875",
    ]  # fmt: skip
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes[:4]]
    assert [p.shape for p in pictures if p is not None] == [
        (50, 100), (50, 100, 3), (100, 50), (100, 50, 3),
    ]  # fmt: skip
    assert figure.get_suptitle().endswith("Research use only")
    assert figure.axes[-1].get_ylabel() == "evidence for PNEUMONIA"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--n", "0"], "--n 0 is too few"),
        (["--method", "saliency"], "Unknown method 'saliency'"),
        (["--target", "COVID"], "Unknown class 'COVID'"),
        (["--run", "/nowhere"], "No run at"),
    ],
    ids=["n", "method", "target", "run"],
)
def test_bad_arguments_end_with_one_line(
    changed: list[str],
    told: str,
    smoke_run: Path,
    toy_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is wrong is told in one line and nothing is written."""
    arguments = make_arguments(smoke_run, toy_data, tmp_path / "sheet.png")
    assert main([*arguments, *changed]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_other_files_are_left_alone(
    smoke_run: Path, toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no PNG is not written over."""
    (tmp_path / "thesis.png").write_text("all my work")
    assert main(make_arguments(smoke_run, toy_data, tmp_path / "thesis.png")) == 1
    assert "is not a PNG file" in capsys.readouterr().err
    assert (tmp_path / "thesis.png").read_text() == "all my work"
