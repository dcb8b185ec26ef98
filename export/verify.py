"""Check a bundle again."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.bundles.manifest import FP32, Parity
from cxr.networks.served import has_fast_bf16, served_network
from export.comparison import measure_parity, verify_goldens_rounded
from export.engines import OpenVinoRunner, OrtExplainer, OrtRunner, TorchRunner
from export.explanation import verify_explain_graph
from export.goldens import golden_inputs, verify_goldens


def verify_bundle(path: Path, provider: str = "cpu") -> tuple[Bundle, Parity, tuple[str, ...]]:
    """Verify digests, replay the goldens and compare PyTorch with ONNX Runtime in float32.

    Explanations are compared, too, if the bundle has a graph for them. Returns the bundle, the
    comparison of answers, and the verified precisions: those with a graph, and bf16 where OpenVINO
    and the CPU have it. BundleError if anything is not as the manifest states.
    """
    bundle = open_bundle(path)
    engine = OrtRunner(bundle.model_path, bundle.manifest, provider)
    verify_goldens(bundle, engine)
    served = served_network(bundle.weights_path, bundle.manifest)
    reference = TorchRunner(served)
    inputs = golden_inputs(bundle.manifest.preprocessing)
    parity = measure_parity(reference, engine, inputs)
    if bundle.explain_path is not None:
        explainer = OrtExplainer(bundle.explain_path, bundle.manifest.tensors, provider)
        verify_explain_graph(served, explainer, inputs)
    verified = [FP32]
    for precision, section in bundle.manifest.precisions.items():
        graph = bundle.model_path_of(precision)
        if graph != bundle.model_path:
            other: OrtRunner | OpenVinoRunner = OrtRunner(graph, bundle.manifest, provider)
        elif find_spec("openvino") is not None and has_fast_bf16():
            other = OpenVinoRunner(bundle, precision)
        else:
            continue
        verify_goldens(bundle, other, precision)
        verify_goldens_rounded(reference, other, inputs, section.tolerance)
        verified.append(precision)
    return bundle, parity, tuple(verified)
