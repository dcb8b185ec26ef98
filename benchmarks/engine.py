"""The engine the service itself would make from the same settings."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.bundles.manifest import MANIFEST_NAME
from service.engines.protocol import Engine, EngineBuilder
from service.settings import Settings

INT8_NAME = "model.int8.onnx"

BUILDER_NAMES = ("build_engine", "build_ort_engine")
"""What the server may make its engines with: where it has a choice of engines, the first."""


def build_engine(bundle: Bundle, settings: Settings) -> Engine:
    """Make the engine of a bundle with whatever the server makes its engines with."""
    return engine_builder()(bundle, settings)


def engine_builder() -> EngineBuilder:
    """Give the server's engine builder, so that the limit never runs another engine."""
    server = import_module("service.app.server")
    found = next(name for name in BUILDER_NAMES if hasattr(server, name))
    return cast("EngineBuilder", getattr(server, found))


def on_one_core(settings: Settings) -> Settings:
    """Give settings that keep one engine to one core: as many of them run as there are cores."""
    threads = {"intra_op_threads": 1, "workers": 1}
    known = {name: value for name, value in threads.items() if name in Settings.model_fields}
    return settings.model_copy(update=known)


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
