"""The OpenVINO engine, the only module that loads OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue

import numpy as np
import openvino
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import Manifest
from cxr.engines.openvino_options import DEVICE, HINT, HINTS, hint_of, openvino_options
from service.engines.buckets import CPU_BATCH
from service.engines.machine import usable_cores
from service.engines.protocol import EngineOutput
from service.engines.selection import Choice
from service.errors import StartupError
from service.settings import Settings


class OpenVinoEngine:
    """Runs in the calling thread, one core per run."""

    name = "openvino"
    provider = DEVICE
    max_batch = CPU_BATCH
    runs_on_cores = True

    def __init__(
        self, compiled: Sequence[openvino.CompiledModel], manifest: Manifest, precision: str
    ) -> None:
        self.precision = precision
        self.concurrency = len(compiled)
        names = manifest.tensors
        self._image = names.image
        self._outputs = (names.logits, names.probabilities, names.embedding)
        self._free: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        size = manifest.preprocessing.size_px
        black = np.zeros((1, 1, size, size), dtype=np.uint8)
        for one in compiled:
            request = one.create_infer_request()
            # The very first conversion of an array, made by two threads at once, hangs both for
            # good (seen in OpenVINO 2026.4): it is made here, by one.
            request.infer({self._image: black}, share_inputs=True)
            self._free.put(request)

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Run model inputs (N, 1, S, S), uint8, once a request is free."""
        request = self._free.get()
        try:
            request.infer({self._image: images}, share_inputs=True)
            # Copied: the request's own tensors are overwritten by its next run.
            return EngineOutput(*(request.get_tensor(n).data.copy() for n in self._outputs))
        finally:
            self._free.put(request)


def build_openvino_engine(bundle: Bundle, settings: Settings, choice: Choice) -> OpenVinoEngine:
    """Compile a graph once per core: without streams, each has one run at a time.

    Raises:
        StartupError: The graph or precision is unusable.
    """
    manifest, precision = bundle.manifest, choice.precision
    options = openvino_options(precision)
    core = openvino.Core()
    try:
        compiled = [
            core.compile_model(bundle.model_path_of(precision), DEVICE, options)
            for _ in range(settings.workers or usable_cores())
        ]
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
        raise StartupError(f"OpenVINO cannot load model {manifest.name}: {reason}") from None
    given = hint_of(compiled[0].get_property(HINT))
    if given != HINTS[precision]:
        raise StartupError(
            f"OpenVINO was asked for {precision} but computes in {given}. Use CXR_PRECISION=auto."
        )
    _verify_graph(compiled[0], manifest)
    return OpenVinoEngine(compiled, manifest, precision)


def _verify_graph(compiled: openvino.CompiledModel, manifest: Manifest) -> None:
    names, size = manifest.tensors, manifest.preprocessing.size_px
    given = {name for tensor in compiled.outputs for name in tensor.get_names()}
    inputs = {name for tensor in compiled.inputs for name in tensor.get_names()}
    if names.image not in inputs or {names.logits, names.probabilities, names.embedding} - given:
        raise StartupError(
            f"The graph of model {manifest.name} does not have the manifest's tensors."
        )
    image = compiled.input(names.image)
    shape = str(image.get_partial_shape()[1:])
    if image.get_element_type() != openvino.Type.u8 or shape != f"[1,{size},{size}]":
        raise StartupError(
            f"The graph of model {manifest.name} takes {image.get_element_type().get_type_name()} "
            f"{shape}, not uint8 (N, 1, {size}, {size})."
        )
