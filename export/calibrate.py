"""The range of values each activation takes on radiographs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from cxr.engines.ort_options import CPU, configure_session
from export.fold import fold_batch_norms
from export.qdq import activations, normalised_inputs

DIGITS = 6  # significant ones: a step of eight bits is thousands of times coarser
GREYS = 256


def measure_ranges(
    model: onnx.ModelProto, images: Iterable[NDArray[np.uint8]], threads: int
) -> dict[str, tuple[float, float]]:
    """Find each activation's smallest and largest value over images.

    Cutting extremes off (percentiles from 99.9 to 99.99) was tried and lost more than its finer
    steps gained; see docs/decisions/0009. What goes into the first convolutions are the pixels, so
    its range is that of all greys and eight bits lose nothing of it.

    Args:
        model: As :func:`export.graph.export_graph` writes it.
        images: Model inputs, (1, S, S), at least one.
        threads: Of a run.

    Returns:
        Lowest and highest value by name of the folded graph's tensor, 0 between them.
    """
    folded = fold_batch_norms(model)
    names, pixels = activations(folded.graph), normalised_inputs(folded.graph)
    image_name, size = folded.graph.input[0].name, _side_px(folded.graph)
    for name in names:
        folded.graph.output.append(onnx.ValueInfoProto(name=name))
    session = _unfused_session(folded, threads)

    def extremes(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = session.run(names, {image_name: image[np.newaxis]})
        return np.array([(value.min(), value.max()) for value in values])

    greys = np.resize(np.arange(GREYS, dtype=np.uint8), (1, size, size))
    all_greys = dict(zip(names, extremes(greys), strict=True))
    found = np.zeros((len(names), 2), dtype=np.float32)
    for image in images:
        low, high = extremes(image).T
        found = np.stack([np.minimum(found[:, 0], low), np.maximum(found[:, 1], high)], axis=1)
    ranges = dict(zip(names, found, strict=True)) | {name: all_greys[name] for name in pixels}
    return {name: (_rounded(low), _rounded(high)) for name, (low, high) in ranges.items()}


def _unfused_session(model: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = configure_session(onnxruntime.SessionOptions(), threads)
    # Fused nodes would hide the tensors between them.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CPU])


def _side_px(graph: onnx.GraphProto) -> int:
    return int(graph.input[0].type.tensor_type.shape.dim[-1].dim_value)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
