"""What every peer runs: the same decoder, the same resize, the same ONNX file.

Imported in a peer's environment, where nothing of ``service`` is installed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from cxr.images.decoding import Preprocessing, decode_image, decode_options, to_model_input

PREFIX = "PEER_"


def setting(name: str) -> str:
    """Give what the benchmark set for the peers."""
    return os.environ[PREFIX + name]


class PeerModel:
    """One session with one thread: as many of these run as there are cores."""

    def __init__(self) -> None:
        manifest: dict[str, Any] = json.loads(Path(setting("MANIFEST")).read_bytes())
        self._spec = Preprocessing(**manifest["preprocessing"])
        task, tensors = manifest["task"], manifest["tensors"]
        self._input = tensors.get("image", "image")
        self._output = tensors.get("probabilities", "probabilities")
        self._column = task["classes"].index(task["positive"])
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        for pool in ("intra_op", "inter_op"):
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        self._session = ort.InferenceSession(
            setting("ONNX"), options, providers=["CPUExecutionProvider"]
        )
        warm_up = np.zeros((1, 1, self._spec.size_px, self._spec.size_px), dtype=np.uint8)
        self._session.run([self._output], {self._input: warm_up})

    def predict(self, data: bytes) -> dict[str, float]:
        """Give the probability of the positive class for the bytes of one file."""
        image = decode_image(data, decode_options(self._spec))
        batch = to_model_input(image.pixels, self._spec)[np.newaxis]
        (rows,) = self._session.run([self._output], {self._input: batch})
        return {"probability": float(rows[0, self._column])}
