"""Check a bundle again: digests, goldens, parity."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.bundles.manifest import FP32, Parity
from cxr.networks.precision import has_fast_bf16
from cxr.networks.served import served_network
from export.engine import ExportEngine, OrtEngine, TorchEngine
from export.goldens import golden_inputs, verify_goldens
from export.parity import measure_parity
from export.rounding import verify_goldens_rounded


def verify_bundle(path: Path, provider: str = "cpu") -> tuple[Bundle, Parity, tuple[str, ...]]:
    """Verify digests, replay the goldens and compare PyTorch with ONNX Runtime.

    Every precision is verified that can be here: float32 always; what has a graph of its own on
    ONNX Runtime; bf16 where OpenVINO is installed and the CPU has it.

    Args:
        path: The bundle's directory.
        provider: ``cpu`` or ``cuda``.

    Returns:
        The bundle, PyTorch against ONNX Runtime in float32, and the precisions verified.

    Raises:
        BundleError: Something is not as the manifest states.
    """
    bundle = open_bundle(path)
    engine = OrtEngine(bundle.model_path, bundle.manifest, provider)
    verify_goldens(bundle, engine)
    reference = TorchEngine(served_network(bundle.weights_path, bundle.manifest))
    inputs = golden_inputs(bundle.manifest.preprocessing)
    parity = measure_parity(reference, engine, inputs)
    verified = [FP32]
    for precision, section in bundle.manifest.precisions.items():
        other = _engine_of(bundle, precision, provider)
        if other is not None:
            verify_goldens(bundle, other, precision)
            verify_goldens_rounded(reference, other, inputs, section.tolerance)
            verified.append(precision)
    return bundle, parity, tuple(verified)


def _engine_of(bundle: Bundle, precision: str, provider: str) -> ExportEngine | None:
    path = bundle.model_path_of(precision)
    if path != bundle.model_path:
        return OrtEngine(path, bundle.manifest, provider)
    if find_spec("openvino") is None or not has_fast_bf16():
        return None
    from export.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(bundle, precision)
