"""Bundles to engines that have proved themselves: verified, warmed, goldens matched."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.bundle import Bundle, list_bundles, open_bundle
from cxr.errors import InputError
from cxr.manifest import MANIFEST_NAME
from cxr.scope_gate import ScopeGate
from service.errors import StartupError
from service.inference.buckets import bucket_sizes, stack_padded
from service.inference.engine import Engine, EngineBuilder, EngineOutput
from service.inference.preparation import prepare_image
from service.settings import Settings
from service.telemetry.logs import log_event
from service.telemetry.stopwatch import Stopwatch


@dataclass(frozen=True)
class LoadedModel:
    """A bundle with its engine.

    Attributes:
        bundle: The bundle.
        engine: Runs its graph.
        gate: Tells pictures the model was not made for.
        refuses: Whether these are refused instead of referred.
    """

    bundle: Bundle
    engine: Engine
    gate: ScopeGate
    refuses: bool = False


def load_models(
    settings: Settings, build_engine: EngineBuilder, names: tuple[str, ...] = ()
) -> dict[str, LoadedModel]:
    """Load the bundles of the settings. Blocks for seconds; not for the event loop.

    Args:
        settings: Where the bundles are and how to run them.
        build_engine: Makes the engine of a bundle.
        names: Names of the models to load; empty for those of the settings.

    Returns:
        Models by name, in the order of their folders.

    Raises:
        StartupError: None is there, a name is missing or twice, an engine cannot be made, or
            its answers are not the goldens.
        BundleError: A bundle is missing, incomplete or was tampered with.
    """
    root = Path(settings.bundles_dir)
    wanted = names or settings.model_names
    models: dict[str, LoadedModel] = {}
    for path in list_bundles(root):
        if wanted and _stated_name(path) not in {*wanted, None}:
            continue
        bundle = open_bundle(path)
        name = bundle.manifest.name
        if name in models:
            raise StartupError(f"Two bundles in {root} are named {name}. Remove one.")
        models[name] = load_model(bundle, settings, build_engine)
    if not models and not wanted:
        raise StartupError(
            f"No bundle in {root}. Export one, or set CXR_BUNDLES_DIR to the folder of bundles."
        )
    if missing := sorted(set(wanted) - set(models)):
        raise StartupError(f"No bundle in {root} is named {', '.join(missing)}.")
    return models


def _stated_name(path: Path) -> str | None:
    """Give the name in a manifest, None if it cannot be read: opening it will say why."""
    try:
        return str(json.loads((path / MANIFEST_NAME).read_bytes())["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_model(bundle: Bundle, settings: Settings, build_engine: EngineBuilder) -> LoadedModel:
    """Make the engine of an opened bundle, warm every bucket, and replay the goldens.

    Raises:
        StartupError: The engine cannot be made or does not reproduce the goldens.
    """
    watch = Stopwatch()
    engine = build_engine(bundle, settings)
    size = bundle.manifest.preprocessing.size_px
    buckets = bucket_sizes(engine.max_batch)
    try:
        for bucket in buckets:
            engine.run(np.zeros((bucket, 1, size, size), dtype=np.uint8))
        verify_golden_tensors(bundle, engine, buckets)
        verify_golden_files(bundle, engine, settings.max_image_pixels)
    except StartupError:
        raise
    except Exception as error:  # an engine's own, or a golden that is no array
        log_event(logging.ERROR, "model failed at start", error, model=bundle.manifest.name)
        raise StartupError(
            f"Model {bundle.manifest.name} failed while it was warmed up or its goldens were "
            f"replayed ({type(error).__name__}). Export the bundle again."
        ) from error
    log_event(
        logging.INFO,
        "model loaded",
        model=bundle.manifest.name,
        version=bundle.manifest.version,
        sha256=bundle.sha256,
        engine=engine.name,
        provider=engine.provider,
        precision=engine.precision,
        duration_ms=round(watch.total_ms, 1),
    )
    return LoadedModel(bundle, engine, bundle.scope_gate(), settings.scope == "refuse")


def verify_golden_tensors(bundle: Bundle, engine: Engine, buckets: tuple[int, ...]) -> None:
    """Replay the golden tensors.

    Raises:
        StartupError: A probability is farther off than the manifest allows.
    """
    goldens = bundle.golden_tensors()
    for start in range(0, len(goldens.images), buckets[-1]):
        images = goldens.images[start : start + buckets[-1]]
        output = engine.run(stack_padded(list(images), buckets))
        expected = goldens.probabilities[start : start + len(images)]
        _verify_close(
            bundle,
            output.probabilities[: len(images)],
            expected,
            bundle.manifest.golden_tolerance_of(engine.precision).tensors,
            "golden tensors",
        )


def verify_golden_files(bundle: Bundle, engine: Engine, max_pixels: int) -> None:
    """Decode and run the golden files.

    Raises:
        StartupError: One cannot be decoded, or its probability is farther off than the
            manifest allows.
    """
    manifest = bundle.manifest
    column = manifest.task.as_task().positive_index
    for path, expected, output in _run_golden_files(bundle, engine, max_pixels):
        _verify_close(
            bundle,
            output.probabilities[:1, column],
            np.array([expected], dtype=np.float32),
            manifest.golden_tolerance_of(engine.precision).files,
            f"golden file {path.name}",
        )


def _run_golden_files(
    bundle: Bundle, engine: Engine, max_pixels: int
) -> Iterator[tuple[Path, float, EngineOutput]]:
    for path, expected in bundle.golden_files().items():
        try:
            image = prepare_image(path.read_bytes(), bundle.manifest.preprocessing, max_pixels)
        except InputError as error:
            raise StartupError(f"The golden file {path.name} cannot be used: {error}") from None
        yield path, expected, engine.run(image.model_input[np.newaxis])


def _verify_close(
    bundle: Bundle,
    actual: NDArray[np.float32],
    expected: NDArray[np.float32],
    tolerance: float,
    what: str,
) -> None:
    difference = float(np.abs(actual - expected).max(initial=0.0))
    if not difference <= tolerance:  # also when it is not a number
        raise StartupError(
            f"Model {bundle.manifest.name} does not reproduce its {what}: the probabilities "
            f"differ by {difference:.2g}, allowed are {tolerance:.2g}."
        )
