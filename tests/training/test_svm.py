"""Support vector machines on a run's embeddings: the same decisions as scikit-learn's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cxr.bundles.bundle import open_bundle
from cxr.bundles.run import open_run
from cxr.explain.grad_cam import GradCam
from cxr.networks import build_network
from cxr.networks.served import served_network
from cxr.networks.svm import Svm
from cxr.networks.weights import load_weights, save_weights
from export.build import build_bundle
from export.engines import OrtRunner, TorchRunner
from export.goldens import golden_inputs
from training.__main__ import main
from training.data.samples import Samples
from training.reliability import limits, scope_fit
from training.runs.svm import Kernel, fit_svm, machines_of

WEIGHTS = "weights.safetensors"
DIMENSIONS = 128  # of small_cnn's embedding
TOLERANCE = 1e-4


@pytest.fixture(autouse=True, scope="module")
def _small_and_single() -> Iterator[None]:
    """Scope gates fitted on few drawn pictures: they are not asked here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scope_fit, "OUTLIERS", 20)
        patch.setattr(scope_fit, "VAL_OUTLIERS", 8)
        patch.setattr(limits, "MADE_OF_EACH", 4)
        yield


def make_samples(classes: int) -> tuple[NDArray[np.float32], Samples]:
    """Make embeddings of classes that overlap, two images a patient."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 40)
    embeddings = rng.normal(size=(len(labels), DIMENSIONS)).astype(np.float32) * 3 + 1
    embeddings[:, :classes] += np.eye(classes, dtype=np.float32)[labels] * 4
    patients = np.array([f"p{i // 2}" for i in range(len(labels))])
    pixels = np.zeros((len(labels), 1, 2, 2), np.uint8)
    return embeddings, Samples(pixels, labels, patients, patients, patients, patients)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_decisions_are_scikit_learns(kernel: Kernel, classes: int, tmp_path: Path) -> None:
    """Also read again from a file in float16, which the machines' numbers are kept out of."""
    embeddings, samples = make_samples(classes)
    fitted, words = fit_svm(embeddings, samples, kernel, [0.1, 1.0])
    assert ("gamma" in words) == (kernel == "rbf")
    network = Svm(build_network("small_cnn", classes), radial=kernel == "rbf")
    network.adopt(machines_of(fitted))
    save_weights(network, tmp_path / WEIGHTS, torch.float16)
    name = {"linear": "small_cnn-svm", "rbf": "small_cnn-svm_rbf"}[kernel]
    again = build_network(name, classes)
    load_weights(again, tmp_path / WEIGHTS)
    assert isinstance(again, Svm)
    expected = fitted.decision_function(embeddings.astype(np.float64))
    with torch.no_grad():
        given = again.decide(torch.from_numpy(embeddings)).numpy()
        logits = again.eval().classify(torch.from_numpy(embeddings)).numpy()
    np.testing.assert_allclose(given, expected.reshape(given.shape), atol=TOLERANCE)
    assert (logits.argmax(axis=1) == fitted.predict(embeddings.astype(np.float64))).all()
    if classes == 2:
        np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=2 * TOLERANCE)


def test_offset_moves_the_difference_of_two_logits() -> None:
    """Though both of them share a number."""
    embeddings, samples = make_samples(2)
    network = Svm(build_network("small_cnn", 2), radial=False)
    network.adopt(machines_of(fit_svm(embeddings, samples, "linear", [0.1])[0]))
    with torch.no_grad():
        before = network.classify(torch.from_numpy(embeddings)).diff(dim=1)
        network.add_to_logits(torch.tensor([0.5, -1.0]))
        after = network.classify(torch.from_numpy(embeddings)).diff(dim=1)
    np.testing.assert_allclose(after - before, -1.5, atol=1e-5)


@pytest.fixture(scope="module")
def svm_run(smoke_run: Path, toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke run with machines, by the command a user would give."""
    out = tmp_path_factory.mktemp("runs") / "svm"
    arguments = ["svm", "--run", str(smoke_run), "--data", str(toy_data), "--out", str(out)]
    assert main([*arguments, "--kernel", "rbf", "--c", "0.5", "--device", "cpu", "--quiet"]) == 0
    return out


def test_run_is_exported_and_explained(svm_run: Path, tmp_path: Path) -> None:
    """One graph holds the machines; heatmaps go through them."""
    run = open_run(svm_run)
    assert (run.name, run.architecture) == ("smoke-svm", "small_cnn-svm_rbf")
    auroc = run.metrics["test"]["balanced"]["auroc"].value
    assert auroc is not None
    assert auroc > 0.9
    bundle = open_bundle(build_bundle(svm_run, tmp_path))
    served = served_network(svm_run / WEIGHTS, run)
    images = golden_inputs(run.preprocessing)
    given = OrtRunner(bundle.model_path, bundle.manifest, threads=1).run(images)
    expected = TorchRunner(served).run(images)
    np.testing.assert_allclose(given.logits, expected.logits, atol=TOLERANCE)
    assert bundle.manifest.explain_layer == "body.block3"
    found = GradCam(served).explain(images, [1] * len(images), ["gradcam"] * len(images))
    np.testing.assert_allclose(found.logits, expected.logits, atol=TOLERANCE)
    assert found.values.any()


def test_only_single_networks_are_taken(
    svm_run: Path, toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Machines on machines, or on an ensemble, are refused."""
    copy = shutil.copytree(svm_run, tmp_path / "copy")
    arguments = ["svm", "--run", str(copy), "--data", str(toy_data), "--out", str(tmp_path / "o")]
    assert main(arguments) == 1
    assert "is not a single network" in capsys.readouterr().err
