"""The models that ship, on real radiographs, through the real service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxr.bundles.methods import METHODS
from cxr.bundles.run import open_run
from cxr.explain.evidence import read_evidence
from export.__main__ import main as export_main
from export.reference import read_reference
from service.client import Client
from tests.conftest import REPOSITORY
from tests.live import LiveServer

MODELS = ("resnet18", "small_cnn", "resnet18-ternary")

MORE = sorted(path.parent for path in (REPOSITORY / "models" / "more").glob("*/run.json"))
"""Runs that ship without being served."""

MAX_MODELS_BYTES = 110_000_000


@pytest.mark.parametrize("name", MODELS)
def test_run_is_whole_and_says_where_it_comes_from(name: str) -> None:
    """Weights match their digest; recipe, seed, data, revision and curves are recorded."""
    run = open_run(REPOSITORY / "models" / name)
    assert run.provenance.recipe == name
    assert len(run.provenance.data_digest) == 64
    assert len(run.provenance.code_revision) == 40
    assert len(run.curves) == sum(phase["epochs"] for phase in run.recipe["phases"])
    assert set(run.metrics) == {"val", "test"}


@pytest.mark.parametrize("path", MORE, ids=lambda path: path.name)
def test_run_that_is_not_served_is_whole(path: Path) -> None:
    """Weights match their digest; children of a set that is free to use are all it knows."""
    run = open_run(path)
    assert run.name == path.name
    assert len(run.provenance.data_digest) == 64
    assert len(run.provenance.code_revision) == 40
    assert [population.name for population in run.populations] == ["children"]
    assert set(run.metrics) == {"val", "test"}


@pytest.mark.parametrize("name", MODELS)
def test_heatmaps_were_measured_with_these_weights(name: str) -> None:
    """The figures on the card are of the weights that ship, for every method, on enough images."""
    run = open_run(REPOSITORY / "models" / name)
    evidence = read_evidence(REPOSITORY / "models" / name, run.weights_sha256)
    assert evidence is not None
    assert evidence.run == name
    assert set(evidence.lung_share) == set(METHODS)
    assert min(curves.images for curves in evidence.curves) >= 30


@pytest.mark.parametrize("name", MODELS)
def test_reference_was_measured_with_these_weights(name: str) -> None:
    """Drift is told against all validation images of the weights that ship."""
    run = open_run(REPOSITORY / "models" / name)
    reference = read_reference(REPOSITORY / "models" / name, run.weights_sha256)
    assert reference is not None
    assert reference.images == run.provenance.images["val"]


def test_what_ships_is_small() -> None:
    """The repository stays quick to clone."""
    total = sum(p.stat().st_size for p in (REPOSITORY / "models").rglob("*") if p.is_file())
    assert total < MAX_MODELS_BYTES


def test_originals_get_the_right_decision(live: LiveServer, shared_data: Path) -> None:
    """Of 100 original files 95 at least are decided as labelled, and 2 at most otherwise."""
    files = sorted((shared_data / "originals").rglob("*.jpeg"))
    right = wrong = 0
    with Client(live.address) as client:
        for path in files:
            (result,) = client.predict(path).results
            assert result.status == "ok"
            truth = "positive" if path.parent.name == "PNEUMONIA" else "negative"
            right += result.decision == truth
            wrong += result.decision not in (truth, "refer")
    assert len(files) == 100
    assert right >= 95
    assert wrong <= 2


def evaluate(bundle: Path, data: Path, out: Path, split: str, *more: str) -> dict[str, Any]:
    arguments = ["evaluate", "--bundle", str(bundle), "--data", str(data), "--split", split]
    split_file = REPOSITORY / "models" / bundle.name / "split.csv"
    arguments += ["--split-file", str(split_file), "--json", str(out), "--quiet"]
    assert export_main([*arguments, *more]) == 0
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def test_internal_test_patients(shared_data: Path, shipped_bundles: Path, tmp_path: Path) -> None:
    """On patients it never saw, ResNet-18 reaches an AUROC of 0.99, and of 0.95 on adults."""
    more = ("--data", str(shared_data / "adults" / "index.csv"), "--by", "population")
    found = evaluate(
        *(shipped_bundles / "resnet18", shared_data / "chest_xray", tmp_path / "e"),
        *("internal-test", *more),
    )
    groups = {group["by"]["population"]: group for group in found["groups"]}
    for population, least in (("children", 0.99), ("adults", 0.95)):
        assert groups[population]["images"] > 350
        assert groups[population]["metrics"]["balanced"]["auroc"]["value"] >= least


@pytest.mark.parametrize("name", MODELS)
def test_service_and_evaluate_agree(
    name: str, live: LiveServer, shared_data: Path, shipped_bundles: Path, tmp_path: Path
) -> None:
    """On one engine every probability is the same to 1e-4, on files of original size."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test").symlink_to(shared_data / "originals")
    with Client(live.address) as client:
        [served] = [model for model in client.models() if model.name == name]
    same = ("--engine", served.engine, "--precision", served.precision)
    found = evaluate(shipped_bundles / name, tmp_path / "data", tmp_path / "e", "test", *same)
    paths = [tmp_path / "data" / score["name"] for score in found["scores"]]
    with Client(live.address) as client:
        results = [
            result
            for start in range(0, len(paths), 20)
            for result in client.predict(list(paths[start : start + 20]), model=name).results
        ]
    gaps = [
        abs(result.probability - score["probability"])  # type: ignore[union-attr]
        for result, score in zip(results, found["scores"], strict=True)
    ]
    assert len(gaps) == 100
    assert max(gaps) < 1e-4
