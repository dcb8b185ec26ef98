"""The engines. A library is imported once chosen."""

from __future__ import annotations

import logging
from pkgutil import resolve_name
from typing import Protocol, cast

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import FP32
from service.engines.machine import look_at_machine
from service.engines.protocol import Engine
from service.engines.selection import (
    Choice,
    EngineEntry,
    choose,
    choose_device,
    engines_named,
)
from service.settings import Settings
from service.telemetry.logs import log_event

ENGINES = (
    EngineEntry(
        "openvino",
        "openvino",
        "service.engines.openvino:build_openvino_engine",
        # bf16 is not faster than int8 and cannot be measured where a bundle is built.
        {"cpu": (FP32, "bf16", "int8")},
    ),
    EngineEntry(
        "onnxruntime",
        "onnxruntime",
        "service.engines.onnxruntime:build_ort_engine",
        {"cpu": (FP32, "int8")},
    ),
    EngineEntry(
        "onnxruntime",
        "onnxruntime",
        "service.engines.cuda:build_device_engine",
        {"cuda": (FP32, "fp16"), "tensorrt": (FP32, "fp16")},
    ),
)
"""In the order in which ``auto`` prefers them."""


def runs_on_cores(settings: Settings) -> bool:
    """Return whether models run on CPU cores, not on a device of their own.

    Raises:
        StartupError: The operator's request cannot be met.
    """
    machine = look_at_machine({entry.package for entry in ENGINES})
    return choose_device(settings, machine, engines_named(settings, ENGINES)) == "cpu"


class Builder(Protocol):
    """Builds a bundle's engine. Raises StartupError."""

    def __call__(self, bundle: Bundle, settings: Settings, choice: Choice) -> Engine:
        """Build it."""


def build_engine(bundle: Bundle, settings: Settings) -> Engine:
    """Choose and build a bundle's engine, logging which and why.

    Raises:
        StartupError: The operator's request cannot be met.
    """
    manifest = bundle.manifest
    machine = look_at_machine({entry.package for entry in ENGINES})
    choice = choose(settings, machine, tuple(manifest.precisions), ENGINES)
    build = cast("Builder", resolve_name(choice.engine.builder))
    engine = build(bundle, settings, choice)
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
