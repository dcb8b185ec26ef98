"""Check a bundle again: digests, goldens, parity."""

from __future__ import annotations

from pathlib import Path

from cxr.bundle import Bundle, open_bundle
from cxr.manifest import Parity
from cxr.networks.served import served_network
from export.engine import OrtEngine, TorchEngine
from export.goldens import golden_inputs, verify_goldens
from export.parity import measure_parity


def verify_bundle(path: Path, provider: str = "cpu") -> tuple[Bundle, Parity]:
    """Verify digests, replay the goldens and compare PyTorch with ONNX Runtime.

    Args:
        path: The bundle's directory.
        provider: ``cpu`` or ``cuda``.

    Raises:
        BundleError: Something is not as the manifest states.
    """
    bundle = open_bundle(path)
    engine = OrtEngine(bundle.model_path, bundle.manifest, provider)
    verify_goldens(bundle, engine)
    reference = TorchEngine(served_network(bundle.weights_path, bundle.manifest))
    return bundle, measure_parity(reference, engine, golden_inputs(bundle.manifest.preprocessing))
