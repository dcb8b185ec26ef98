"""The engine the service itself would make from the same settings."""

from __future__ import annotations

from pathlib import Path

from cxr.bundle import Bundle, open_bundle
from cxr.manifest import MANIFEST_NAME
from service.inference.engine import Engine
from service.inference.ort_engine import build_ort_engine
from service.settings import Settings

INT8_NAME = "model.int8.onnx"


def build_engine(bundle: Bundle, settings: Settings) -> Engine:
    """Make the engine of a bundle as the server does."""
    return build_ort_engine(bundle, settings)


def bundle_of(bundles: Path, model: str) -> Bundle:
    """Open one bundle of a folder.

    Raises:
        BundleError: There is none of that name.
    """
    return open_bundle(bundles if (bundles / MANIFEST_NAME).is_file() else bundles / model)


def graphs_of(bundle: Path) -> dict[str, Path]:
    """Give the ONNX files of a bundle that a peer can be given, by precision."""
    files = {"fp32": bundle / "model.onnx", "int8": bundle / INT8_NAME}
    return {precision: path for precision, path in files.items() if path.is_file()}
