"""Rewrite a float32 graph to compute its feature maps in eight bits or in float16.

Eight bits are QDQ, U8S8: unsigned activations and signed weights, one scale per output channel, the
only pairing that CPUs multiply fast (VNNI's ``vpdpbusd``). Float16 is for CUDA's tensor cores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from cxr.errors import BundleError, RunError

DEFAULT_EPSILON = 1e-5  # of ONNX's BatchNormalization


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold batch norms into the convolutions before them, as every engine does.

    Quantisation rounds the folded weights. Batch norms after a sum or a concatenation stay.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = {node.output[0]: node for node in graph.node if node.op_type == "Conv"}
    uses = Counter(name for node in graph.node for name in node.input)
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        source = convolutions.get(norm.input[0])
        if source is None or uses[norm.input[0]] > 1:
            continue
        weight, bias = f"{source.input[1]}.folded", f"{source.input[1]}.folded_bias"
        if weight not in values:
            epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), DEFAULT_EPSILON)
            scale, shift, mean, variance = (values[name] for name in norm.input[1:])
            factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
            new_weight = values[source.input[1]] * factor[:, None, None, None]
            before = values[source.input[2]] if len(source.input) > 2 else 0.0
            new_bias = shift + (before - mean) * factor
            for name, exact in ((weight, new_weight), (bias, new_bias)):
                value = exact.astype(np.float32)
                values[name] = value
                graph.initializer.append(numpy_helper.from_array(value, name))
        del source.input[1:]
        source.input.extend([weight, bias])
        source.output[0] = norm.output[0]
        graph.node.remove(norm)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    return folded


QUANTISED = ("Conv", "Relu", "MaxPool", "Add")

STAYS_FLOAT = {
    "pixels": "Cast and normalisation: the pixels' own 256 levels are kept exactly.",
    "embedding and classifier": "Pooling, fully connected layers, averaging over the mirror image "
    "and softmax: hardly any arithmetic, and what the scope gate and the threshold see.",
}
"""What is not computed in eight bits, and why."""

_ENDS = ("ReduceMean", "AveragePool", "GlobalAveragePool", "Reshape", "Gemm")
"""The first nodes after the feature maps, if no convolution follows them."""


def quantised_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """List the nodes that make the feature maps."""
    nodes = list(graph.node)  # in the order of computation
    first = next(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    before: set[str] = set()
    for node in reversed(nodes):
        if node.op_type == "Conv" or before & set(node.output):
            before |= set(node.input)
    after: set[str] = set()
    chosen = []
    for node in nodes[first:]:
        is_end = node.op_type in _ENDS and not before & set(node.output)
        if is_end or after & set(node.input):
            after |= set(node.output)
        elif node.op_type in QUANTISED:
            chosen.append(node)
    return chosen


def activations(graph: onnx.GraphProto) -> list[str]:
    """List the tensors that need a range."""
    constants = {tensor.name for tensor in graph.initializer}
    names: dict[str, None] = {}
    for node in quantised_nodes(graph):
        names |= dict.fromkeys(name for name in (*node.input, *node.output) if name)
    return [name for name in names if name not in constants]


def normalised_inputs(graph: onnx.GraphProto) -> list[str]:
    """List the activations that no such node made: the normalised pixels."""
    made = {name for node in quantised_nodes(graph) for name in node.output}
    return [name for name in activations(graph) if name not in made]


def quantise_graph(
    model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]]
) -> onnx.ModelProto:
    """Quantise an exported graph by activation ranges; RunError if of another graph."""
    folded = fold_batch_norms(model)
    wanted = activations(folded.graph)
    if set(wanted) != set(ranges):
        odd = min(set(wanted) ^ set(ranges))
        raise RunError(
            f"The ranges in int8.json belong to another graph (see {odd}). "
            "Measure them again: python -m export quantize."
        )
    bounds = {
        name: (np.array(low, dtype=np.float32), np.array(high, dtype=np.float32))
        for name, (low, high) in ranges.items()
    }
    quantizer = QDQQuantizer(
        folded,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, bounds),
        nodes_to_quantize=[node.name for node in quantised_nodes(folded.graph)],
        nodes_to_exclude=[],
        op_types_to_quantize=list(QUANTISED),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantised = quantizer.model.model
    quantised.producer_name, quantised.producer_version = model.producer_name, ""
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


HALF_SUFFIX, FLOAT_SUFFIX = ".half", ".float"


def halve_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute the feature maps of an exported graph in float16.

    Batch norms are folded first: their statistics may exceed float16. BundleError if a weight does.
    """
    halved = fold_batch_norms(model)
    graph = halved.graph
    chosen = quantised_nodes(graph)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made = {name for node in chosen for name in node.output}
    chosen_ids = set(map(id, chosen))
    nodes: list[onnx.NodeProto] = []
    cast: set[str] = set()

    def halve(name: str) -> str:
        if name in made:
            return name
        if name not in cast:
            cast.add(name)
            if name in weights:
                weights[name].CopyFrom(_halved(weights[name]))
            else:
                nodes.append(_cast(name, name + HALF_SUFFIX, TensorProto.FLOAT16))
        return name if name in weights else name + HALF_SUFFIX

    def widen(name: str) -> str:
        if name not in made:
            return name
        if name not in cast:
            cast.add(name)
            nodes.append(_cast(name, name + FLOAT_SUFFIX, TensorProto.FLOAT))
        return name + FLOAT_SUFFIX

    for node in list(graph.node):
        convert = halve if id(node) in chosen_ids else widen
        inputs = [convert(name) if name else name for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    onnx.checker.check_model(halved, full_check=True)
    return halved


def _halved(tensor: onnx.TensorProto) -> onnx.TensorProto:
    value = numpy_helper.to_array(tensor)
    if not np.abs(value).max(initial=0.0) <= np.finfo(np.float16).max:  # also not a number
        raise BundleError(f"The weight {tensor.name} exceeds what float16 holds.")
    return numpy_helper.from_array(value.astype(np.float16), tensor.name)


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=target, to=to)
