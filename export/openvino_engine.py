"""OpenVINO on a bundle's graphs, to evaluate what the service would answer with it."""

from __future__ import annotations

import numpy as np
import openvino
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.engines.openvino_options import DEVICE, HINT, HINTS, hint_of, openvino_options
from cxr.errors import BundleError
from export.engine import EngineAnswer


class OpenVinoEngine:
    """OpenVINO on the CPU, with the options of the service.

    They differ in threads and streams alone, which are there for speed.

    Args:
        bundle: The opened bundle.
        precision: ``fp32``, ``bf16`` or ``int8``.
        threads: Threads of one run; 0 for as many as OpenVINO likes.

    Raises:
        BundleError: The bundle or the CPU does not have that precision.
    """

    def __init__(self, bundle: Bundle, precision: str, threads: int = 0) -> None:
        names = bundle.manifest.tensors
        self._image = names.image
        self._outputs = (names.logits, names.probabilities, names.embedding)
        path = bundle.model_path_of(precision)
        if precision not in HINTS:
            raise BundleError(f"OpenVINO runs {', '.join(HINTS)} here, not {precision}.")
        options = openvino_options(precision, threads=threads, streams=1)
        compiled = openvino.Core().compile_model(path, DEVICE, options)
        if hint_of(compiled.get_property(HINT)) != HINTS[precision]:
            raise BundleError(f"OpenVINO does not compute in {precision} on this CPU.")
        self._request = compiled.create_infer_request()

    def run(self, images: NDArray[np.uint8]) -> EngineAnswer:
        """Answer for model inputs (N, 1, S, S)."""
        self._request.infer({self._image: images})
        # Copied: the request's own tensors are overwritten by its next run.
        return EngineAnswer(*(self._request.get_tensor(n).data.copy() for n in self._outputs))
