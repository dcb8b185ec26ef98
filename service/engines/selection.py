"""Selection of engine, device and precision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cxr.bundles.manifest import FP32
from service.engines.machine import Machine
from service.errors import StartupError
from service.settings import Settings

Device: TypeAlias = Literal["cuda", "tensorrt", "cpu"]


@dataclass(frozen=True)
class EngineEntry:
    """What the choice of an engine needs, without importing it.

    Attributes:
        name: Value of CXR_ENGINE; entries may share it.
        package: Python package, installed by the extra of that name.
        builder: ``module:function`` of a :class:`~service.engines.registry.Builder`.
        precisions: By device; ``auto`` takes the last if bundle and CPU have it.
    """

    name: str
    package: str
    builder: str
    precisions: Mapping[Device, tuple[str, ...]]


@dataclass(frozen=True)
class Choice:
    """What a model runs on, and why."""

    engine: EngineEntry
    device: Device
    precision: str
    reason: str


def choose(
    settings: Settings,
    machine: Machine,
    offered: Collection[str],
    engines: Sequence[EngineEntry],
) -> Choice:
    """Choose for a bundle with these precisions, by order of preference.

    Raises:
        StartupError: The operator's request cannot be met.
    """
    named = engines_named(settings, engines)
    device = choose_device(settings, machine, named)
    engine, why = _choose_engine(settings, machine, device, named)
    if settings.precision == "auto":
        precision, why_precision = _best_precision(engine, device, machine, offered)
    else:
        precision, why_precision = settings.precision, f"{settings.precision} was requested"
        _verify_precision(precision, engine, device, machine, offered, engines)
    return Choice(engine, device, precision, f"{why}; {why_precision}")


def engines_named(settings: Settings, engines: Sequence[EngineEntry]) -> list[EngineEntry]:
    """Return the engines among which the operator leaves the choice."""
    return [one for one in engines if settings.engine in ("auto", one.name)]


def choose_device(settings: Settings, machine: Machine, named: Sequence[EngineEntry]) -> Device:
    """Choose where models run, with one of these engines.

    Raises:
        StartupError: The operator's request cannot be met.
    """
    device: Device = "cpu"
    if settings.provider in ("cuda", "tensorrt"):  # without one, the engine's builder says so
        device = settings.provider
    elif settings.provider == "auto" and machine.cuda_devices:
        on_cuda = {precision for one in named for precision in one.precisions.get("cuda", ())}
        # An engine or a number format that only CPUs have also says where to run.
        if on_cuda and settings.precision in ("auto", *on_cuda):
            device = "cuda"
    number, count = settings.device_id, machine.cuda_devices
    if device == "cpu" and number:
        raise StartupError(f"CXR_DEVICE_ID={number} names a CUDA device, but models run on a CPU.")
    if device != "cpu" and count and number >= count:
        there = "the only CUDA device is 0" if count == 1 else f"CUDA devices are 0 to {count - 1}"
        raise StartupError(f"CXR_DEVICE_ID={number}, but {there}.")
    return device


def _choose_engine(
    settings: Settings, machine: Machine, device: Device, named: Sequence[EngineEntry]
) -> tuple[EngineEntry, str]:
    able = [one for one in named if device in one.precisions]
    if not able:
        devices = ", ".join(where for one in named for where in one.precisions)
        raise StartupError(
            f"CXR_ENGINE={settings.engine} runs on {devices}, not with CXR_PROVIDER={device}."
        )
    installed = [one for one in able if one.package in machine.packages]
    if not installed:
        package = able[0].package
        raise StartupError(
            f"CXR_ENGINE={settings.engine}, but {package} is not installed: "
            f"pip install 'cxr-inference[{package}]', or use auto."
        )
    engine = installed[0]
    if settings.engine != "auto":
        return engine, f"{engine.name} was requested"
    if engine is able[0]:
        return engine, f"{engine.name} is preferred on {device}"
    return engine, f"on {device}, {able[0].name} is not installed"


def _best_precision(
    engine: EngineEntry, device: Device, machine: Machine, offered: Collection[str]
) -> tuple[str, str]:
    best = engine.precisions[device][-1]
    if best not in offered:
        return FP32, f"the bundle has no {best}"
    if not machine.is_fast_in(best):
        return FP32, f"the CPU has no instructions for {best}"
    return best, f"the bundle has {best} and {device} is fast in it"


def _verify_precision(
    wanted: str,
    engine: EngineEntry,
    device: Device,
    machine: Machine,
    offered: Collection[str],
    engines: Sequence[EngineEntry],
) -> None:
    able = engine.precisions[device]
    if wanted not in able:
        places = ", ".join(
            f"{one.name} on {where}"
            for one in engines
            for where, precisions in one.precisions.items()
            if wanted in precisions
        )
        raise StartupError(
            f"CXR_PRECISION={wanted}, but {engine.name} on {device} computes in "
            f"{', '.join(able)}. {wanted} is available with {places}."
        )
    if wanted not in (FP32, *offered):
        raise StartupError(
            f"CXR_PRECISION={wanted}, but the bundle has only {', '.join((FP32, *offered))}. "
            "Export it with that precision, or use auto."
        )
    if not machine.is_fast_in(wanted):
        raise StartupError(
            f"CXR_PRECISION={wanted}, but this CPU has no instructions for it. Use auto or fp32."
        )
