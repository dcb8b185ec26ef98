"""Batch norms folded into the convolutions before them, as every engine does by itself.

Quantisation needs it done beforehand: what is rounded to eight bits are the folded weights.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import numpy_helper

DEFAULT_EPSILON = 1e-5  # of ONNX's BatchNormalization


def fold_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give the same computation without batch norms.

    A convolution and batch norm that are used twice, for the image and for its mirror image,
    keep one folded weight. A batch norm that no convolution goes straight into stays as it is:
    those of pre-activation networks and of DenseNets follow a sum or a concatenation.
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
