"""Ranges of activations, kept in the run, for bundles are built without data."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from pydantic import Field

from cxr.bundles.manifest import PrecisionFigures, Rounding
from cxr.bundles.run import Measured, read_measured
from cxr.engines.ort_options import CPU, configure_session
from export.precisions import activations, fold_batch_norms, normalised_inputs

INT8_NAME = "int8.json"

MARGIN = 2.0  # over the largest difference on the test patients: other engines and CPUs, too

LEAST = Rounding(logits=0.1, probabilities=0.05, embedding=0.05)
"""Tolerance where test images happen to move less: flat and noisy pictures move more."""


class Int8File(Measured):
    """The content of ``int8.json``."""

    calibration: str
    stays_float: dict[str, str] = Field(description="What is not in eight bits, and why.")
    figures: PrecisionFigures
    ranges: dict[str, tuple[float, float]] = Field(description="By tensor of the folded graph.")

    @property
    def tolerance(self) -> Rounding:
        """Largest difference from float32 by rounding alone."""
        largest = self.figures.largest
        return Rounding(
            logits=_margin(largest.logits, LEAST.logits),
            probabilities=_margin(largest.probabilities, LEAST.probabilities),
            embedding=_margin(largest.embedding, LEAST.embedding),
        )


def _margin(largest: float, least: float) -> float:
    return float(f"{max(MARGIN * largest, least):.2g}")


def read_int8(run: Path, weights_sha256: str) -> Int8File | None:
    """Read a run's file, None if there is none; RunError if of other weights."""
    again = f"Measure it again: python -m export quantize --run {run} --data DIR."
    return read_measured(run / INT8_NAME, Int8File, weights_sha256, again)


DIGITS = 6  # significant ones: a step of eight bits is thousands of times coarser
GREYS = 256


def measure_ranges(
    model: onnx.ModelProto, images: Iterable[NDArray[np.uint8]], threads: int
) -> dict[str, tuple[float, float]]:
    """Measure each activation's extremes over model inputs (1, S, S).

    Percentiles from 99.9 to 99.99 lost more than their finer steps gained; see docs/decisions/0009.
    The pixels' range is that of all greys, so eight bits lose nothing of them.
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
