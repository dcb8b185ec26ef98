"""Float16 for CUDA devices, as far as a CPU can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from cxr.bundles.bundle import open_bundle
from cxr.errors import BundleError
from cxr.networks.served import served_network
from export import build as build_module
from export.__main__ import main
from export.build import FP16_TOLERANCE, build_bundle
from export.comparison import GOLDENS_FACTOR, compare
from export.engines import OrtRunner, TorchRunner
from export.precisions import halve_graph

CAPTURABLE = {
    *("Cast", "Div", "Sub", "Slice", "Conv", "Relu", "MaxPool", "Add", "ReduceMean"),
    *("AveragePool", "Reshape", "Gemm", "Softmax", "BatchNormalization"),
}
"""Operators that CUDA's provider has and whose shapes are constants: nothing is left to the CPU."""


def types_in(graph: onnx.GraphProto) -> dict[str, int]:
    """Infer the element type of every tensor of a graph."""
    inferred = onnx.shape_inference.infer_shapes(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)])
    ).graph
    tensors = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {tensor.name: tensor.type.tensor_type.elem_type for tensor in tensors}
    return types | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def test_convolutions_are_in_float16_and_nothing_else(smoke_bundle: Path) -> None:
    """Feature maps are; normalisation, classifier and softmax are not, nor input and outputs."""
    graph = onnx.load(smoke_bundle / "model.fp16.onnx").graph
    types = types_in(graph)
    kinds: dict[str, set[int]] = {}
    for node in graph.node:
        kinds.setdefault(node.op_type, set()).update(types[name] for name in node.input[:2])
    assert kinds["Conv"] == {TensorProto.FLOAT16}
    assert kinds["MaxPool"] == {TensorProto.FLOAT16}
    for operator in ("Gemm", "Softmax", "Div", "Sub", "AveragePool"):
        assert kinds[operator] == {TensorProto.FLOAT}
    assert types["image"] == TensorProto.UINT8
    assert {types[output.name] for output in graph.output} == {TensorProto.FLOAT}
    biases = [types[node.input[2]] for node in graph.node if node.op_type == "Conv"]
    assert set(biases) == {TensorProto.FLOAT16}


def test_file_is_about_half_as_large(smoke_bundle: Path) -> None:
    """The convolutions' share of it is; no float32 copy of a weight stays behind."""
    graph = onnx.load(smoke_bundle / "model.fp16.onnx").graph
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx"])
def test_graph_can_be_captured(smoke_bundle: Path, name: str) -> None:
    """CUDA graphs allow no operator on the CPU: no control flow, no shapes that are computed."""
    operators = {node.op_type for node in onnx.load(smoke_bundle / name).graph.node}
    assert operators <= CAPTURABLE


def test_answers_are_rounded_only(smoke_bundle: Path) -> None:
    """Against PyTorch in float32, on the goldens; and really rounded."""
    bundle = open_bundle(smoke_bundle)
    images = bundle.golden_tensors().images
    reference = TorchRunner(served_network(bundle.weights_path, bundle.manifest))
    half = OrtRunner(bundle.model_path_of("fp16"), bundle.manifest)
    largest, _ = compare([reference.run(images)], [half.run(images)])
    assert largest.exceeds(FP16_TOLERANCE.times(GOLDENS_FACTOR)) is None
    assert largest.embedding > 1e-5


def test_manifest_tells_what_it_costs(smoke_bundle: Path) -> None:
    """Measured when built, within the tolerance."""
    section = open_bundle(smoke_bundle).manifest.precisions["fp16"]
    assert section.file == "model.fp16.onnx"
    assert section.goldens is not None
    assert section.goldens.exceeds(section.tolerance.times(GOLDENS_FACTOR)) is None
    assert section.goldens.probabilities <= section.golden_tolerance.tensors


def test_same_graph_gives_the_same_bytes(smoke_bundle: Path) -> None:
    """A rebuilt bundle has the same digests."""
    model = onnx.load(smoke_bundle / "model.onnx")
    before = model.SerializeToString()
    once, twice = halve_graph(model), halve_graph(model)
    assert once.SerializeToString() == twice.SerializeToString()
    assert model.SerializeToString() == before
    stored = onnx.load(smoke_bundle / "model.fp16.onnx")
    assert once.SerializeToString() == stored.SerializeToString()


def test_weight_that_does_not_fit_is_refused(smoke_bundle: Path) -> None:
    """No infinity is written."""
    model = onnx.load(smoke_bundle / "model.onnx")
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    tensor = next(t for t in model.graph.initializer if t.name == name)
    huge = numpy_helper.to_array(tensor) * np.float32(1e9)
    tensor.CopyFrom(numpy_helper.from_array(huge, name))
    with pytest.raises(BundleError, match="exceeds what float16 holds"):
        halve_graph(model)


def test_wrong_graph_is_not_written(
    smoke_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs by more than rounding ends the build."""

    def wrong(model: onnx.ModelProto) -> onnx.ModelProto:
        halved = halve_graph(model)
        first = next(node for node in halved.graph.node if node.op_type == "Conv")
        tensor = next(t for t in halved.graph.initializer if t.name == first.input[1])
        doubled = numpy_helper.to_array(tensor) * np.float16(2)
        tensor.CopyFrom(numpy_helper.from_array(doubled, tensor.name))
        return halved

    monkeypatch.setattr(build_module, "halve_graph", wrong)
    with pytest.raises(BundleError, match="by more than rounding"):
        build_bundle(smoke_run, tmp_path)
    assert not list(tmp_path.iterdir())


def test_verify_covers_it(smoke_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Goldens are replayed in float16, too."""
    assert main(["verify", "--bundle", str(smoke_bundle)]) == 0
    assert "fp16" in capsys.readouterr().out
