"""Eight bits: measured once with the data, then built without any."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from cxr.bundles.bundle import open_bundle
from cxr.bundles.manifest import Tensors
from cxr.errors import BundleError, RunError
from cxr.networks.served import ServedNetwork
from cxr.networks.small_cnn import SmallCnn
from export.__main__ import main
from export.build import build_bundle
from export.comparison import verify_goldens_rounded
from export.engines import OpenVinoRunner, OrtRunner, Outputs
from export.graph import export_graph
from export.int8 import INT8_NAME, read_int8
from export.precisions import fold_batch_norms, quantise_graph, quantised_nodes
from export.quantize import MAX_AUROC_LOSS
from tests.conftest import REPOSITORY

SIZE_PX = 64


def graph_of(bundle: Path) -> onnx.GraphProto:
    """Load the quantised graph."""
    return onnx.load(bundle / "model.int8.onnx").graph


def test_graph_is_u8s8_qdq(int8_bundle: Path) -> None:
    """Unsigned activations, signed weights per channel: the only pairing CPUs are fast in."""
    graph = graph_of(int8_bundle)
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 6
    for node in convolutions:
        kinds = [constants[makers[name].input[2]].dtype for name in node.input[:2]]
        assert kinds == [np.uint8, np.int8]
        scale, zero = (constants[name] for name in makers[node.input[1]].input[1:3])
        channels = constants[makers[node.input[1]].input[0]].shape[0]
        assert scale.shape == (channels,)
        assert not zero.any()


def test_classifier_and_softmax_stay_float(int8_bundle: Path) -> None:
    """What makes embedding, logits and probabilities takes floats, as does normalisation."""
    graph = graph_of(int8_bundle)
    makers = {name: node.op_type for node in graph.node for name in node.output}
    first = next(i for i, n in enumerate(graph.node) if n.op_type == "QuantizeLinear")
    assert "Conv" not in {node.op_type for node in list(graph.node)[:first]}
    for node in graph.node:
        if node.op_type in ("Gemm", "Softmax"):
            assert "DequantizeLinear" not in {makers.get(name) for name in node.input}
        assert node.op_type != "BatchNormalization"


def test_folding_changes_nothing(tmp_path: Path) -> None:
    """With the mirrored pass a network's batch norms stay in the graph, its weights used twice."""
    torch.manual_seed(0)
    network = SmallCnn(2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    served = ServedNetwork(network, mean=0.5, std=0.25, temperature=1.0, mirror=True).eval()
    export_graph(served, SIZE_PX, tmp_path / "model.onnx", Tensors(embedding_size=128))
    model = onnx.load(tmp_path / "model.onnx")
    assert "BatchNormalization" in {node.op_type for node in model.graph.node}
    folded = fold_batch_norms(model)
    assert "BatchNormalization" not in {node.op_type for node in folded.graph.node}
    assert sum(t.name.endswith(".folded") for t in folded.graph.initializer) == 6
    images = np.random.default_rng(0).integers(0, 256, (3, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"image": images})
        for m in (model, folded)
    )
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


class PreActivation(nn.Module):
    """What dense and pre-activation networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(1, 4, 3, bias=False), nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(8, 4, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (4, 4, 8))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise what is used twice, concatenate, halve, convolve."""
        stem = self.stem(images.float())
        inner = self.norms[1](self.inner(torch.relu(self.norms[0](stem))))
        both = torch.relu(self.norms[2](torch.cat([stem, inner], dim=1)))
        return self.last(nn.functional.avg_pool2d(both, 2)).mean(dim=(2, 3))


def test_batch_norm_after_no_convolution_of_its_own_stays() -> None:
    """A convolution with a bias is folded; a sum that is used twice, or a concatenation, is not."""
    torch.manual_seed(0)
    network = PreActivation()
    network.train()(torch.randn(8, 1, 16, 16))
    program = torch.onnx.export(network.eval(), (torch.zeros(2, 1, 16, 16),), dynamo=True)
    assert program is not None
    model = program.model_proto
    folded = fold_batch_norms(model)
    assert sum(node.op_type == "BatchNormalization" for node in folded.graph.node) == 2
    chosen = quantised_nodes(folded.graph)
    assert sum(node.op_type == "Conv" for node in chosen) == 3, "pooling between is no end"
    images = torch.randn(2, 1, 16, 16)
    [given] = onnxruntime.InferenceSession(folded.SerializeToString()).run(
        None, {folded.graph.input[0].name: images.numpy()}
    )
    np.testing.assert_allclose(given, network(images).detach(), atol=1e-5)


def test_quantising_again_gives_the_same_bytes(int8_run: Path, int8_bundle: Path) -> None:
    """The same graph and ranges, the same file: bundles can be reproduced."""
    int8 = read_int8(int8_run, open_run_weights(int8_run))
    assert int8 is not None
    model = quantise_graph(onnx.load(int8_bundle / "model.onnx"), int8.ranges)
    assert model.SerializeToString() == (int8_bundle / "model.int8.onnx").read_bytes()


def open_run_weights(run: Path) -> str:
    """Give the digest a run states."""
    return str(json.loads((run / "run.json").read_text())["weights_sha256"])


def test_answers_are_near_float32(int8_bundle: Path) -> None:
    """Eight bits answer differently, within the tolerance that the manifest states."""
    bundle = open_bundle(int8_bundle)
    section = bundle.manifest.precisions["int8"]
    images = bundle.golden_tensors().images
    exact = OrtRunner(bundle.model_path, bundle.manifest).run(images)
    rounded = OrtRunner(bundle.model_path_of("int8"), bundle.manifest).run(images)
    gap = np.abs(exact.probabilities - rounded.probabilities).max()
    assert 0 < gap <= section.golden_tolerance.tensors
    assert section.goldens is not None
    assert section.goldens.probabilities <= section.golden_tolerance.tensors / 2


def test_wrong_graph_is_no_rounding(int8_bundle: Path) -> None:
    """Eight bits may differ, but only so far: answers to darker images are found out."""
    bundle = open_bundle(int8_bundle)
    reference = OrtRunner(bundle.model_path, bundle.manifest)
    rounded = OrtRunner(bundle.model_path_of("int8"), bundle.manifest)
    allowed = bundle.manifest.rounding_of("int8")
    images = bundle.golden_tensors().images
    verify_goldens_rounded(reference, rounded, images, allowed)

    class Darker:
        def run(self, images: np.ndarray) -> Outputs:
            return rounded.run(images // 4)

    with pytest.raises(BundleError, match="more than rounding"):
        verify_goldens_rounded(reference, Darker(), images, allowed)


def test_ranges_of_other_weights_are_refused(int8_run: Path, tmp_path: Path) -> None:
    """A run trained again has to be measured again; no old ranges slip in."""
    run = Path(shutil.copytree(int8_run, tmp_path / "run"))
    content = json.loads((run / INT8_NAME).read_text())
    (run / INT8_NAME).write_text(json.dumps(content | {"weights_sha256": "0" * 64}))
    with pytest.raises(RunError, match=r"measured with other weights.*export quantize"):
        build_bundle(run, tmp_path / "out")


def test_ranges_of_another_graph_are_refused(int8_run: Path, int8_bundle: Path) -> None:
    """A tensor that is not there any more is named."""
    int8 = read_int8(int8_run, open_run_weights(int8_run))
    assert int8 is not None
    ranges = {name: pair for name, pair in int8.ranges.items() if name != "relu_1"}
    with pytest.raises(RunError, match=r"another graph \(see relu_1\)"):
        quantise_graph(onnx.load(int8_bundle / "model.onnx"), ranges)


def test_damaged_file_is_one_line(int8_run: Path, tmp_path: Path) -> None:
    """It is named, with what is wrong."""
    (tmp_path / INT8_NAME).write_text("{}")
    with pytest.raises(RunError, match=r"int8\.json is not valid at weights_sha256"):
        read_int8(tmp_path, open_run_weights(int8_run))


def test_run_without_it_has_no_int8(smoke_bundle: Path) -> None:
    """Quantisation is offered only where it was measured."""
    bundle = open_bundle(smoke_bundle)
    assert "int8" not in bundle.manifest.precisions
    assert not (smoke_bundle / "model.int8.onnx").exists()


def test_too_great_a_loss_writes_nothing(
    int8_run: Path,
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A network that eight bits spoil is not served in them."""
    run = Path(shutil.copytree(int8_run, tmp_path / "run"))
    (run / INT8_NAME).unlink()
    monkeypatch.setattr("export.quantize.MAX_AUROC_LOSS", -1.0)
    assert main(["quantize", "--run", str(run), "--data", str(toy_data), "--quiet"]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not (run / INT8_NAME).exists()


def test_card_tells_what_it_costs(int8_bundle: Path, smoke_bundle: Path) -> None:
    """AUROC of both, differences and changed decisions; nothing where there is no int8."""
    card = (int8_bundle / "MODEL_CARD.md").read_text()
    assert "| int8 | `model.int8.onnx` |" in card
    assert "training images" in card
    assert "model.int8.onnx" not in (smoke_bundle / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_evaluate_in_eight_bits(
    engine: str, int8_bundle: Path, toy_data: Path, tmp_path: Path
) -> None:
    """Accuracy of each engine and precision can be measured."""
    arguments = ["--bundle", str(int8_bundle), "--data", str(toy_data), "--quiet"]
    arguments += ["--engine", engine, "--precision", "int8", "--json", str(tmp_path / "e.json")]
    assert main(["evaluate", *arguments]) == 0
    assert json.loads((tmp_path / "e.json").read_text())["images"] == 24


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--precision", "bf16"), "onnxruntime does not support bf16"),
        (("--engine", "pytorch", "--precision", "int8"), "pytorch does not support int8"),
        (("--precision", "int8"), "has no int8 graph; it has fp32, bf16"),
    ],
)
def test_precision_that_cannot_be_had_is_one_line(
    more: tuple[str, ...],
    says: str,
    smoke_bundle: Path,
    toy_data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is measured in another precision than asked for."""
    arguments = ["--bundle", str(smoke_bundle), "--data", str(toy_data), "--quiet"]
    assert main(["evaluate", *arguments, *more]) == 1
    assert says in capsys.readouterr().err


def test_verify_covers_every_precision(
    int8_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goldens are replayed in eight bits, too."""
    assert main(["verify", "--bundle", str(int8_bundle)]) == 0
    assert "int8" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize(
    ("tolerance", "says"),
    [
        ({"tensors": 0.0, "files": 1.0}, "golden tensors do not match in {}"),
        ({"tensors": 1.0, "files": 0.0}, "phantom-clear.jpeg does not match in {}"),
    ],
    ids=["tensors", "files"],
)
def test_verify_replays_goldens_in_each_precision(
    precision: str,
    tolerance: dict[str, float],
    says: str,
    int8_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each against its own tolerance, which rounding exceeds if it is none."""
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "bundle"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["precisions"][precision]["golden_tolerance"] = tolerance
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", "--bundle", str(bundle)]) == 1
    assert says.format(precision) in capsys.readouterr().err


def test_cpu_without_bf16_is_told_apart(
    smoke_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asking for it fails, since OpenVINO would compute in float32; verifying leaves it out."""
    pytest.importorskip("openvino")
    monkeypatch.setattr("export.engines.hint_of", lambda given: "f32")
    with pytest.raises(BundleError, match="does not compute in bf16 on this CPU"):
        OpenVinoRunner(open_bundle(smoke_bundle), "bf16")
    monkeypatch.setattr("export.verify.has_fast_bf16", lambda: False)
    assert main(["verify", "--bundle", str(smoke_bundle)]) == 0
    assert "goldens matched (fp32, fp16)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["resnet18", "small_cnn"])
def test_shipped_models_lose_next_to_nothing(name: str) -> None:
    """Of the weights that ship: AUROC, scope and decisions on the test patients."""
    run = REPOSITORY / "models" / name
    int8 = read_int8(run, open_run_weights(run))
    assert int8 is not None
    figures = int8.figures
    assert figures.images > 500
    assert figures.auroc.value is not None
    assert figures.auroc_fp32.value is not None
    assert figures.auroc_fp32.value - figures.auroc.value <= MAX_AUROC_LOSS
    assert figures.decisions_changed <= figures.images / 100
    assert abs(figures.out_of_scope - figures.out_of_scope_fp32) <= figures.images / 100
