"""A float32 graph to one whose convolutions are computed in eight bits (QDQ, U8S8).

Activations are unsigned and weights signed, one scale per output channel: the only pairing that
CPUs multiply quickly (VNNI; Intel's ``vpdpbusd`` takes one unsigned and one signed operand).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from cxr.errors import RunError
from export.fold import fold_batch_norms

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
    """List the nodes that make the feature maps; all others stay float."""
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
    """List the tensors that need a range: what goes into and comes out of those nodes."""
    constants = {tensor.name for tensor in graph.initializer}
    names: dict[str, None] = {}
    for node in quantised_nodes(graph):
        names |= dict.fromkeys(name for name in (*node.input, *node.output) if name)
    return [name for name in names if name not in constants]


def normalised_inputs(graph: onnx.GraphProto) -> list[str]:
    """List those of them that nothing in eight bits has made: the normalised pixels."""
    made = {name for node in quantised_nodes(graph) for name in node.output}
    return [name for name in activations(graph) if name not in made]


def quantise_graph(
    model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]]
) -> onnx.ModelProto:
    """Quantise an exported graph. The same graph and ranges give the same bytes.

    Args:
        model: As :func:`export.graph.export_graph` writes it.
        ranges: Lowest and highest value of each activation of the folded graph.

    Raises:
        RunError: The ranges are of another graph.
    """
    folded = fold_batch_norms(model)
    wanted = activations(folded.graph)
    if set(wanted) != set(ranges):
        odd = min(set(wanted) ^ set(ranges))
        raise RunError(
            f"The ranges in int8.json are of another graph (see {odd}). "
            "Measure them anew: python -m export quantize."
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
