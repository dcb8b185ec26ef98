"""A float32 graph to one whose convolutions are computed in float16, for CUDA devices.

Tensor cores multiply float16 many times as fast as float32. What is rounded is what eight bits
round, too: the nodes that make the feature maps. Normalisation, pooling, fully connected layers,
averaging over the mirror image and softmax stay float32, as do input and outputs.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxr.errors import BundleError
from export.fold import fold_batch_norms
from export.qdq import quantised_nodes

HALF_SUFFIX, FLOAT_SUFFIX = ".half", ".float"


def halve_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute the feature maps in float16. The same graph gives the same bytes.

    Batch norms are folded beforehand: their statistics may exceed what float16 holds.

    Args:
        model: As :func:`export.graph.export_graph` writes it.

    Raises:
        BundleError: A weight exceeds what float16 holds.
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
