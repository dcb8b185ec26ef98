"""What a model answers on its validation images, measured, kept and built in."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from cxr.bundles.bundle import open_bundle
from cxr.bundles.reference import count_bins
from cxr.errors import RunError
from export.__main__ import main
from export.build import build_bundle
from export.reference import REFERENCE_NAME, read_reference


@pytest.fixture(scope="module")
def measured_run(
    smoke_run: Path, smoke_bundle: Path, toy_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run with its reference, measured by the command a user would give."""
    run = Path(shutil.copytree(smoke_run, tmp_path_factory.mktemp("runs") / "smoke"))
    assert measure(run, smoke_bundle, toy_data) == 0
    return run


def measure(run: Path, bundle: Path, data: Path) -> int:
    """Run the command."""
    options = ["--run", str(run), "--bundle", str(bundle), "--data", str(data), "--quiet"]
    return main(["reference", *options])


def test_reference_is_what_the_bundle_answers(
    measured_run: Path, smoke_bundle: Path, toy_data: Path, tmp_path: Path
) -> None:
    """On the validation patients and nobody else; a bundle built then has it."""
    options = ["--bundle", str(smoke_bundle), "--data", str(toy_data), "--quiet"]
    part = ["--split", "internal-val", "--split-file", str(measured_run / "split.csv")]
    assert main(["evaluate", *options, *part, "--json", str(tmp_path / "e.json")]) == 0
    scores = json.loads((tmp_path / "e.json").read_text())["scores"]
    manifest = open_bundle(build_bundle(measured_run, tmp_path)).manifest
    reference = manifest.reference
    assert reference is not None
    assert reference.images == len(scores) == manifest.provenance.images["val"]
    assert reference.counts == count_bins(score["probability"] for score in scores)
    assert reference.decisions == Counter(score["decision"] for score in scores)
    assert reference.out_of_scope == sum(not score["in_scope"] for score in scores)


def test_run_without_it_makes_a_bundle_without(smoke_run: Path, smoke_bundle: Path) -> None:
    """As before there was one."""
    assert read_reference(smoke_run, "any") is None
    assert open_bundle(smoke_bundle).manifest.reference is None


def test_reference_of_other_weights_is_refused(
    measured_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As is one that does not add up; both are told in a line that names the file."""
    file = tmp_path / REFERENCE_NAME
    content = json.loads((measured_run / REFERENCE_NAME).read_text())
    file.write_text(json.dumps(content | {"weights_sha256": "0" * 64}))
    with pytest.raises(RunError, match=r"reference\.json was measured with other weights"):
        read_reference(tmp_path, content["weights_sha256"])
    content["reference"]["images"] += 1
    file.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"reference\.json is not valid at reference"):
        read_reference(tmp_path, content["weights_sha256"])


def test_bundle_of_another_run_is_refused(
    smoke_run: Path,
    smoke_bundle: Path,
    toy_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its answers say nothing of this run."""
    run = Path(shutil.copytree(smoke_run, tmp_path / "run"))
    content = json.loads((run / "run.json").read_text())
    (run / "weights.safetensors").write_bytes(b"other")
    digest = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"
    (run / "run.json").write_text(json.dumps(content | {"weights_sha256": digest}))
    assert measure(run, smoke_bundle, toy_data) == 1
    assert "was not built from" in capsys.readouterr().err
    assert not (run / REFERENCE_NAME).exists()
