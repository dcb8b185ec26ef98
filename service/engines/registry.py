"""Makes the engine of a bundle. An engine's library is loaded when it was chosen, not before."""

from __future__ import annotations

import logging

from cxr.bundles.bundle import Bundle
from service.engines.machine import look_at_machine
from service.engines.protocol import Engine
from service.engines.selection import OPENVINO, Choice, choose
from service.settings import Settings
from service.telemetry.logs import log_event


def build_engine(bundle: Bundle, settings: Settings) -> Engine:
    """Choose an engine for a bundle and make it; one log line says which and why.

    Raises:
        StartupError: What was asked for cannot be had.
    """
    manifest = bundle.manifest
    choice = choose(settings, look_at_machine(), tuple(manifest.precisions))
    engine = _make(bundle, settings, choice)
    log_event(
        logging.INFO,
        "engine chosen",
        model=manifest.name,
        engine=engine.name,
        provider=engine.provider,
        precision=engine.precision,
        concurrency=engine.concurrency,
        max_batch=engine.max_batch,
        reason=choice.reason,
    )
    return engine


def _make(bundle: Bundle, settings: Settings, choice: Choice) -> Engine:
    if choice.engine == OPENVINO:
        from service.engines.openvino import build_openvino_engine

        return build_openvino_engine(bundle, settings, choice.precision)
    from service.engines.onnxruntime import build_ort_engine

    return build_ort_engine(bundle, settings, choice)
