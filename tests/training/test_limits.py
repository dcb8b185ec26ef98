"""The scope gate's fit, and the command that fits and measures a run's limits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.bundles.run import Run, open_run
from cxr.networks.small_cnn import EMBEDDING
from cxr.verdict.scope import load_scope_gate
from export.phantom import draw_phantom, encode_dicom, encode_jpeg, encode_png
from training.__main__ import main
from training.reliability import limits, scope_fit
from training.reliability.outliers import FAMILIES

FEW = ("inverted", "noise", "upside down")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures from elsewhere: another "hospital", files to refuse, a file that is no image."""
    root = tmp_path_factory.mktemp("elsewhere")
    for name in ("hospital", "more", "others", "empty", "strangers", "side"):
        (root / name).mkdir()
    for i in range(8):
        picture = np.ascontiguousarray(np.fliplr(draw_phantom(500 + i))[::2, ::2])
        (root / "hospital" / f"{i}.png").write_bytes(encode_png(picture))
        (root / "more" / f"{i}.jpeg").write_bytes(encode_jpeg(draw_phantom(600 + i)))
        wide = np.pad(draw_phantom(800 + i), ((0, 0), (200, 200)), mode="edge")
        (root / "strangers" / f"{i}.png").write_bytes(encode_png(np.ascontiguousarray(wide)))
        half = draw_phantom(900 + i)
        half[:, : half.shape[1] // 2] = 0
        (root / "side" / f"{i}.png").write_bytes(encode_png(half))
    chest = draw_phantom(700)
    (root / "others" / "inverted.png").write_bytes(encode_png(255 - chest))
    (root / "others" / "hand.dcm").write_bytes(encode_dicom(np.ascontiguousarray(chest[:, ::-1])))
    (root / "others" / "cut.jpeg").write_bytes(encode_jpeg(chest)[:400])
    (root / "others" / "notes.txt").write_text("no image")
    (root / "empty" / "notes.txt").write_text("no image")
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="module")
def limited(
    smoke_run: Path,
    toy_data: Path,
    folders: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The smoke run with limits fitted anew, leaving out each of a few families of outliers."""
    run = tmp_path_factory.mktemp("limited") / "run"
    shutil.copytree(smoke_run, run)
    arguments = ["limits", "--run", str(run), "--data", str(toy_data), "--quiet"]
    arguments += ["--frontal", f"trained-on:hospital={folders['hospital']}"]
    arguments += ["--in-scope", f"more={folders['more']}"]
    arguments += ["--out-of-scope", f"others={folders['others']}"]
    arguments += ["--others", f"strangers={folders['strangers']}"]
    arguments += ["--laterals", f"side={folders['side']}"]
    few = {name: FAMILIES[name] for name in FEW}  # the gate is fitted once more without each
    with pytest.MonkeyPatch.context() as patch:
        for module in (limits, scope_fit):
            patch.setattr(module, "FAMILIES", few)
        assert main(arguments) == 0
    return run


def figures(run: Run) -> dict[str, float]:
    return {figure.name: figure.flagged.value or 0.0 for figure in run.scope.figures}


def test_training_alone_fits_a_gate(smoke_run: Path) -> None:
    """Without any other data set radiographs pass and nearly all outliers do not."""
    run = open_run(smoke_run)
    found = figures(run)
    assert found["trained-on, val"] <= 0.1
    assert found["trained-on, test"] <= 0.1
    assert np.mean([found[family] for family in FAMILIES]) > 0.8
    for family in ("inverted", "upside down", "noise", "page of text"):
        assert found[family] > 0.9, family
    assert load_scope_gate(smoke_run / "scope.safetensors", EMBEDDING, 1)


def test_command_measures_every_folder(limited: Path) -> None:
    """What it was told to measure is in the run, with what could not be read."""
    run = open_run(limited)
    by_name = {figure.name: figure for figure in run.scope.figures}
    assert by_name["hospital"].images == by_name["more"].images == 8
    assert by_name["hospital"].frontal
    assert by_name["others"].images == 3
    assert by_name["others"].refused == pytest.approx(1 / 3)
    assert not by_name["others"].frontal
    assert {f"{family}, never shown" for family in FEW} <= by_name.keys()
    assert by_name["strangers"].images == by_name["side"].images == 8
    assert by_name["strangers"].frontal
    assert not by_name["side"].frontal


def test_strangers_belong_to_nobody(limited: Path) -> None:
    """Pictures of other patients, and those from the side, are no population's."""
    run = open_run(limited)
    shares = {f.name: f.belongs["trained-on"] for f in run.scope.figures}
    assert shares["trained-on, test"] >= 0.8
    assert shares["hospital"] >= 0.5
    assert shares["strangers"] <= 0.25
    assert shares["side"] <= 0.25


def test_weights_and_metrics_stay(limited: Path, smoke_run: Path) -> None:
    """Only the limits are new; no rest of the work is left beside the run."""
    before, after = (json.loads((run / "run.json").read_text()) for run in (smoke_run, limited))
    for one in (before, after):
        for name in ("scope", "scope_sha256", "referral", "populations"):
            one.pop(name)
    assert before == after
    assert [path.name for path in limited.parent.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--frontal", "nameless", "NAME=DIR"),
        ("--frontal", "giants:x={more}", "has no population 'giants'; it has trained-on"),
        ("--out-of-scope", "x={empty}", "no JPEG, PNG or DICOM"),
        ("--in-scope", "x={empty}/absent", "not a folder"),
    ],
)
def test_bad_folder_changes_nothing(
    limited: Path,
    toy_data: Path,
    folders: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    flag: str,
    value: str,
    words: str,
) -> None:
    """One clear line, and the run is as it was."""
    before = (limited / "run.json").read_bytes()
    value = value.format(**folders)
    arguments = ["limits", "--run", str(limited), "--data", str(toy_data), "--quiet"]
    assert main([*arguments, flag, value]) == 1
    assert words in capsys.readouterr().err
    assert (limited / "run.json").read_bytes() == before


def test_run_whose_gate_was_changed_is_refused(limited: Path, tmp_path: Path) -> None:
    """The gate is verified like the weights."""
    run = tmp_path / "run"
    shutil.copytree(limited, run)
    path = run / "scope.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    Image.new("L", (4, 4)).save(run / "unrelated.png")
    with pytest.raises(Exception, match=r"scope\.safetensors is not what run\.json states"):
        open_run(run)
