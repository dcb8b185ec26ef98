"""The ensemble command: finished runs become one run, which is served as any."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.bundles.manifest import Calibration, Normalisation
from cxr.bundles.run import open_run
from cxr.data.split import read_split_file, write_split_file
from cxr.files import sha256_of_file
from cxr.networks import build_network
from cxr.networks.served import ServedNetwork, served_network
from cxr.networks.weights import save_weights
from export.__main__ import main as export_main
from export.build import build_bundle
from export.goldens import golden_inputs
from export.phantom import draw_phantom, encode_jpeg
from service.engines.registry import build_engine
from service.explain.torch_explainer import build_torch_explainer
from tests.service.conftest import make_settings
from tests.service.harness import running
from training.__main__ import main
from training.heatmaps.randomisation import cascade
from training.reliability import limits, scope_fit

WEIGHTS = "weights.safetensors"


@pytest.fixture(autouse=True, scope="module")
def _small_gates() -> Iterator[None]:
    """Scope gates are fitted on few drawn pictures: how good they are is not asked here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scope_fit, "OUTLIERS", 20)
        patch.setattr(scope_fit, "VAL_OUTLIERS", 8)
        patch.setattr(limits, "MADE_OF_EACH", 4)
        yield


@pytest.fixture(scope="module")
def other_run(smoke_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network with the same split, untrained, that averages over the mirror image."""
    out = Path(shutil.copytree(smoke_run, tmp_path_factory.mktemp("runs") / "other"))
    torch.manual_seed(1)
    save_weights(build_network("cnn_bn", 2), out / WEIGHTS)
    run = open_run(smoke_run)
    changes = {
        "name": "other",
        "architecture": "cnn_bn",
        "normalisation": Normalisation(mean=0.3, std=0.4),
        "calibration": Calibration(temperature=0.1, mirror=True),
        "weights_sha256": sha256_of_file(out / WEIGHTS),
    }
    (out / "run.json").write_text(run.model_copy(update=changes).model_dump_json())
    return out


def combine(runs: list[Path], data: Path, out: Path) -> int:
    """Run the command a user would give."""
    arguments = ["ensemble", *map(str, runs), "--name", "both", "--data", str(data)]
    return main([*arguments, "--out", str(out), "--device", "cpu", "--quiet"])


@pytest.fixture(scope="module")
def ensemble(
    smoke_run: Path, other_run: Path, toy_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Both as one run."""
    out = tmp_path_factory.mktemp("runs") / "both"
    assert combine([smoke_run, other_run], toy_data, out) == 0
    return out


@pytest.fixture(scope="module")
def bundle(ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ensemble's bundle."""
    return build_bundle(ensemble, tmp_path_factory.mktemp("bundles"))


def test_run_is_finished_as_any(ensemble: Path, smoke_run: Path, other_run: Path) -> None:
    """The same files and sections, calibrated by itself; the members' curves are kept."""
    run, members = open_run(ensemble), [open_run(path) for path in (smoke_run, other_run)]
    assert {p.name for p in ensemble.iterdir()} == {p.name for p in smoke_run.iterdir()}
    assert run.architecture == "small_cnn+cnn_bn-mirrored"
    assert not run.calibration.mirror
    assert (ensemble / "split.csv").read_bytes() == (smoke_run / "split.csv").read_bytes()
    assert [row.phase for row in run.curves][-1] == "other: all"
    assert len(run.curves) == sum(len(member.curves) for member in members)
    assert all(member.weights_sha256[:12] in run.provenance.init for member in members)
    assert run.metrics["test"]["balanced"]["auroc"].value is not None
    assert {p.name for p in run.operating_points} == {"balanced", "screening", "rule_in"}


def test_probability_is_made_of_the_runs(ensemble: Path, smoke_run: Path, other_run: Path) -> None:
    """From the files on disk: the geometric mean of what the members' runs answer."""
    run = open_run(ensemble)
    images = torch.from_numpy(golden_inputs(run.preprocessing))
    with torch.inference_mode():
        answers = [
            served_network(path / WEIGHTS, open_run(path))(images).probabilities.double()
            for path in (smoke_run, other_run)
        ]
        given = served_network(ensemble / WEIGHTS, run)(images).probabilities
    mean = torch.stack(answers).log().mean(dim=0) / run.calibration.temperature
    np.testing.assert_allclose(given, torch.softmax(mean, dim=1), atol=1e-5)


def test_bundle_is_verified_and_evaluated(
    bundle: Path, ensemble: Path, toy_data: Path, tmp_path: Path
) -> None:
    """One graph, equal to PyTorch, scored as any."""
    assert export_main(["verify", "--bundle", str(bundle)]) == 0
    out = tmp_path / "e.json"
    arguments = ["evaluate", "--bundle", str(bundle), "--data", str(toy_data), "--json", str(out)]
    assert export_main([*arguments, "--quiet"]) == 0
    assert json.loads(out.read_text())["images"] == 24
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["explain_layer"] == "stack"
    assert manifest["tensors"]["embedding_size"] == 128 + 2 * 512


@pytest.mark.anyio
async def test_service_predicts_and_explains(bundle: Path) -> None:
    """Over HTTP, with the comparison of both paths in between."""
    file = encode_jpeg(draw_phantom(3, 1.0))
    settings = make_settings(bundle, models="", explain_precision="fp32")
    async with running(settings, build_engine, build_torch_explainer) as service:
        predicted = await service.client.post("/v1/predict", content=file)
        explained = await service.client.post("/v1/explain", content=file)
    assert predicted.status_code == explained.status_code == 200, explained.text
    [prediction], [explanation] = (r.json()["results"] for r in (predicted, explained))
    assert prediction["probability"] == pytest.approx(explanation["probability"], abs=1e-5)
    assert explanation["explanation"]["layer"] == "stack"
    assert np.max(explanation["explanation"]["heatmap"]["values"]) > 0


def test_reports_take_it_as_any_run(ensemble: Path, toy_data: Path, tmp_path: Path) -> None:
    """Evaluation, sheet, comparison."""
    given = ["--run", str(ensemble), "--data", str(toy_data)]
    assert main(["evaluate", *given, "--out", str(tmp_path / "report"), "--quiet"]) == 0
    assert main(["gradcam", *given, "--n", "2", "--out", str(tmp_path / "sheet.png")]) == 0
    assert main(["compare", str(ensemble), str(tmp_path / "report")]) == 0


def test_randomising_goes_from_the_classifiers_down() -> None:
    """What the faithfulness of heatmaps is measured against: each stage of each member."""
    architecture = "small_cnn-mirrored+cnn_bn"
    served = ServedNetwork(build_network(architecture, 2).eval(), 0.0, 1.0, 1.0, mirror=False)
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        before = served(images)
        reached = [(stage, one(images)) for stage, one in cascade(served, architecture, 2, 7)]
    stages = [stage for stage, _ in reached]
    assert stages[:2] == ["members.1.fc2", "members.0.body.fc2"]
    assert len(stages) == 5 + 6
    assert torch.equal(reached[1][1].embedding, before.embedding)
    assert not torch.allclose(reached[0][1].logits, before.logits)
    assert not torch.allclose(reached[-1][1].embedding, before.embedding)


def other_split(run: Path, out: Path, *, swapped: tuple[str, str]) -> Path:
    """Copy a run whose split has one patient of a part in another."""
    copy = Path(shutil.copytree(run, out))
    rows = read_split_file(copy / "split.csv")
    old, new = swapped
    moved = min(row.patient for row in rows if row.part == old)
    rows = [dataclasses.replace(r, part=new) if r.patient == moved else r for r in rows]  # type: ignore[arg-type]
    write_split_file(copy / "split.csv", rows)
    return copy


@pytest.mark.parametrize(
    ("swapped", "says"),
    [
        (("val", "train"), "1 patients of one's val part are in the other's train part"),
        (("train", "test"), "1 patients of one's test part are in the other's train part"),
        (("test", "val"), "1 patients are in the val part of only one of them"),
    ],
)
def test_other_splits_are_refused(
    swapped: tuple[str, str],
    says: str,
    smoke_run: Path,
    toy_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither is a patient a member learnt from measured on, nor are different ones."""
    other = other_split(smoke_run, tmp_path / "other", swapped=swapped)
    assert combine([smoke_run, other], toy_data, tmp_path / "out") == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("section", "changes", "says"),
    [
        ("preprocessing", {"size_px": 96}, "different sizes: 112 and 96 pixels"),
        ("task", {"name": "fracture"}, "have different tasks"),
        (None, {"architecture": "small_cnn+cnn_bn"}, "is an ensemble itself"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(
    section: str | None,
    changes: dict[str, object],
    says: str,
    smoke_run: Path,
    toy_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says which and why."""
    other = Path(shutil.copytree(smoke_run, tmp_path / "other"))
    content = json.loads((other / "run.json").read_text())
    (content[section] if section else content).update(changes)
    (other / "run.json").write_text(json.dumps(content))
    assert combine([smoke_run, other], toy_data, tmp_path / "out") == 1
    assert says in capsys.readouterr().err


def test_one_run_finished_run_and_other_data_are_refused(
    smoke_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], toy_data: Path
) -> None:
    """Nothing is overwritten or half done."""
    assert combine([smoke_run], toy_data, tmp_path / "out") == 1
    assert "at least two runs" in capsys.readouterr().err
    assert combine([smoke_run, smoke_run], toy_data, smoke_run) == 1
    assert "holds a finished run" in capsys.readouterr().err
    shutil.copytree(toy_data, tmp_path / "data")
    next((tmp_path / "data" / "train" / "NORMAL").iterdir()).unlink()
    assert combine([smoke_run, smoke_run], tmp_path / "data", tmp_path / "out") == 1
    assert "1 of 96 images" in capsys.readouterr().err
