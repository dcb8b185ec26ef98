"""Building a bundle and checking it again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cxr.bundles.bundle import open_bundle
from cxr.errors import BundleError
from cxr.networks.served import served_network
from export.__main__ import main
from export.build import build_bundle
from export.comparison import LOGIT_TOLERANCE, measure_parity
from export.engines import OrtRunner, Outputs, TorchRunner
from export.goldens import golden_inputs


@pytest.fixture
def damaged(smoke_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(smoke_bundle, tmp_path / "copy"))


def test_graph_is_what_the_design_says(smoke_bundle: Path) -> None:
    """uint8 pixels of any batch size in; logits, probabilities and embedding out."""
    model = onnx.load(smoke_bundle / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(smoke_bundle / "model.onnx")
    (image,) = session.get_inputs()
    assert (image.name, image.type) == ("image", "tensor(uint8)")
    assert isinstance(image.shape[0], str)
    assert image.shape[1:] == [1, 112, 112]
    assert [o.name for o in session.get_outputs()] == ["logits", "probabilities", "embedding"]
    assert session.get_outputs()[2].shape[1] == 128


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 17])
def test_onnx_and_pytorch_agree_at_any_batch(batch: int, smoke_bundle: Path) -> None:
    """Logits differ by rounding only, also at batch sizes that were never traced."""
    bundle = open_bundle(smoke_bundle)
    reference = TorchRunner(served_network(bundle.weights_path, bundle.manifest))
    candidate = OrtRunner(bundle.model_path, bundle.manifest)
    images = np.random.default_rng(batch).integers(0, 256, (batch, 1, 112, 112), dtype=np.uint8)
    expected, given = reference.run(images), candidate.run(images)
    assert np.abs(expected[0] - given[0]).max() <= LOGIT_TOLERANCE
    assert np.allclose(given[1].sum(axis=1), 1.0, atol=1e-6)


def test_disagreement_fails_the_build(smoke_bundle: Path) -> None:
    """A graph that answers otherwise, or with NaN, is no bundle."""
    bundle = open_bundle(smoke_bundle)
    reference = OrtRunner(bundle.model_path, bundle.manifest)

    class Wrong:
        def __init__(self, output: str, offset: float) -> None:
            self.output, self.offset = output, np.float32(offset)

        def run(self, images: np.ndarray) -> Outputs:
            answer = reference.run(images)
            return answer._replace(**{self.output: getattr(answer, self.output) + self.offset})

    images = golden_inputs(bundle.manifest.preprocessing)
    for output, offset in (("logits", 1e-3), ("logits", float("nan")), ("embedding", 0.01)):
        with pytest.raises(BundleError, match="disagree"):
            measure_parity(reference, Wrong(output, offset), images)


def test_bundle_has_everything_and_no_path_of_its_builder(smoke_bundle: Path) -> None:
    """All files of the design, every one listed; nothing tells where it was built."""
    files = {p.relative_to(smoke_bundle).as_posix() for p in smoke_bundle.rglob("*") if p.is_file()}
    manifest = json.loads((smoke_bundle / "manifest.json").read_text())
    assert set(manifest["files"]) == files - {"manifest.json"}
    assert {"model.onnx", "weights.safetensors", "golden.npz", "MODEL_CARD.md"} <= files
    home = str(Path(onnx.__file__).parents[1]).encode()
    for name in files:
        content = (smoke_bundle / name).read_bytes()
        assert home not in content, name
        assert str(Path(__file__).parents[2]).encode() not in content, name


def test_rebuilding_gives_the_same_model(
    smoke_run: Path, smoke_bundle: Path, tmp_path: Path
) -> None:
    """Digests of graph, weights and goldens are reproducible, and an old bundle is replaced."""
    shutil.copytree(smoke_bundle, tmp_path / "smoke")
    (tmp_path / "smoke" / "left-over").touch()
    again = build_bundle(smoke_run, tmp_path)
    first, second = open_bundle(smoke_bundle).manifest.files, open_bundle(again).manifest.files
    assert not (again / "left-over").exists()
    assert {k: v for k, v in first.items() if k != "golden.npz"} == {
        k: v for k, v in second.items() if k != "golden.npz"
    }


def test_failed_build_leaves_nothing(
    smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All or nothing: a failure half-way leaves the folder as it was."""

    def fail(*_: object) -> None:
        raise BundleError("no.")

    monkeypatch.setattr("export.build.measure_parity", fail)
    assert main(["build", "--run", str(smoke_run), "--out", str(tmp_path)]) == 1
    assert list(tmp_path.iterdir()) == []


def test_model_card_says_what_matters(smoke_bundle: Path) -> None:
    """Use, limits, operating points, figures with intervals, provenance."""
    card = (smoke_bundle / "MODEL_CARD.md").read_text()
    for text in (
        "Not a medical device", "## Limitations", "balanced (default)", "sensitivity", " to ",
        "started from: none (from scratch)", "seed 0",
    ):  # fmt: skip
        assert text in card


def test_verify_passes_an_intact_bundle(
    smoke_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what was checked."""
    assert main(["verify", "--bundle", str(smoke_bundle)]) == 0
    assert "smoke 0.0.1 is intact" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["model.onnx", "explain.onnx", "weights.safetensors", "golden/phantom-clear.dcm"]
)
def test_verify_refuses_a_truncated_file(
    name: str, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Non-zero exit and one line that names the file."""
    path = damaged / name
    path.write_bytes(path.read_bytes()[:-7])
    assert main(["verify", "--bundle", str(damaged)]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert name in message


def test_verify_finds_answers_that_changed_under_valid_digests(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever forges golden answers and digests alike is caught by replaying them."""
    expected = damaged / "golden" / "expected.json"
    answers = json.loads(expected.read_text())
    expected.write_text(json.dumps({name: 1.0 - p for name, p in answers.items()}))
    manifest = json.loads((damaged / "manifest.json").read_text())
    from cxr.files import sha256_of_file

    manifest["files"]["golden/expected.json"] = sha256_of_file(expected)
    (damaged / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", "--bundle", str(damaged)]) == 1
    assert "golden file" in capsys.readouterr().err


def test_cuda_is_not_silently_replaced(
    smoke_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asking for CUDA where there is none fails."""
    bundle = open_bundle(smoke_bundle)
    session = onnxruntime.InferenceSession(bundle.model_path, providers=["CPUExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main(["verify", "--bundle", str(smoke_bundle), "--provider", "cuda"]) == 1
    assert "CUDAExecutionProvider" in capsys.readouterr().err
