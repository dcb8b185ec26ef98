"""Scoring a labelled folder through a bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr.bundles.bundle import open_bundle
from export.__main__ import main
from export.engines import OrtRunner
from export.goldens import read_model_input


def evaluate(bundle: Path, data: Path, out: Path, *more: str) -> dict[str, Any]:
    arguments = ["evaluate", "--bundle", str(bundle), "--data", str(data), "--json", str(out)]
    assert main([*arguments, "--quiet", *more]) == 0
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def test_every_image_is_scored_as_one_alone_would_be(
    smoke_bundle: Path, toy_data: Path, tmp_path: Path
) -> None:
    """Batching mixes nothing up: each probability is that of its own file."""
    found = evaluate(smoke_bundle, toy_data, tmp_path / "e.json")
    bundle = open_bundle(smoke_bundle)
    engine = OrtRunner(bundle.model_path, bundle.manifest)
    assert found["images"] == 24
    for score in found["scores"]:
        data = (toy_data / score["name"]).read_bytes()
        model_input = read_model_input(data, bundle.manifest.preprocessing)
        alone = engine.run(model_input[np.newaxis]).probabilities
        assert score["probability"] == pytest.approx(float(alone[0, 1]), abs=1e-5)
    decisions = [score["decision"] for score in found["scores"]]
    assert found["referred"] == decisions.count("refer") / 24
    assert found["out_of_scope"] <= found["referred"]


def test_onnx_and_pytorch_engines_agree(smoke_bundle: Path, toy_data: Path, tmp_path: Path) -> None:
    """The retained PyTorch path gives the same probabilities and figures."""
    first = evaluate(smoke_bundle, toy_data, tmp_path / "a.json")
    second = evaluate(smoke_bundle, toy_data, tmp_path / "b.json", "--engine", "pytorch")
    gaps = [
        abs(a["probability"] - b["probability"])
        for a, b in zip(first["scores"], second["scores"], strict=True)
    ]
    assert max(gaps) < 1e-4
    assert first["metrics"]["balanced"]["auroc"] == second["metrics"]["balanced"]["auroc"]


def test_internal_part_is_scored_by_the_split_file(
    smoke_bundle: Path, smoke_run: Path, toy_data: Path, tmp_path: Path
) -> None:
    """The test patients of the run, and nobody else, are measured."""
    more = ["--split", "internal-test", "--split-file", str(smoke_run / "split.csv")]
    found = evaluate(smoke_bundle, toy_data, tmp_path / "e.json", *more)
    assert found["images"] == 20
    assert found["metrics"]["balanced"]["auroc"]["value"] > 0.9


def test_unreadable_images_are_named_and_left_out(
    smoke_bundle: Path, toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken file is told on the terminal and in the JSON."""
    data = tmp_path / "data"
    shutil.copytree(toy_data / "test", data / "test")
    (data / "test" / "NORMAL" / "IM-0001-0001.jpeg").write_bytes(b"broken")
    found = evaluate(smoke_bundle, data, tmp_path / "e.json")
    assert found["unreadable"] == ["test/NORMAL/IM-0001-0001.jpeg"]
    assert found["images"] == 23
    assert "left out: test/NORMAL/IM-0001-0001.jpeg" in capsys.readouterr().err


def test_table_shows_all_operating_points(
    smoke_bundle: Path, toy_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eleven rows under a header of three columns, and what was referred."""
    arguments = ["evaluate", "--bundle", str(smoke_bundle), "--data", str(toy_data), "--quiet"]
    assert main(arguments) == 0
    header, *rows, referred = capsys.readouterr().out.rstrip().splitlines()
    assert header.split() == ["balanced", "screening", "rule_in"]
    assert len(rows) == 11
    assert "% referred" in referred


def test_missing_split_is_one_clear_line(
    smoke_bundle: Path, toy_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder that is not there is named, with those that are."""
    arguments = ["--bundle", str(smoke_bundle), "--data", str(toy_data), "--split", "val"]
    assert main(["evaluate", *arguments]) == 1
    assert "No folder val/" in capsys.readouterr().err


def test_place_that_cannot_be_written_is_one_clear_line(
    smoke_bundle: Path, toy_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing folder for the JSON is named; no traceback."""
    arguments = ["--bundle", str(smoke_bundle), "--data", str(toy_data), "--quiet"]
    assert main(["evaluate", *arguments, "--json", "/nonexistent/e.json"]) == 1
    error = capsys.readouterr().err
    assert error == "error: /nonexistent/e.json: No such file or directory.\n"
