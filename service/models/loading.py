"""Bundles to engines that were verified, warmed up and match their goldens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.errors import BundleError, CxrError, InputError
from cxr.verdict.decision import Rules
from service.engines.buckets import bucket_sizes, stack_padded
from service.engines.protocol import Engine, EngineBuilder, EngineOutput
from service.errors import StartupError
from service.explain.explaining import Explainer, ExplainerBuilder, load_explainer
from service.images.preparation import prepare_image
from service.models.repository import Found, newest_first, scan_repository
from service.settings import Settings
from service.telemetry.logs import log_event


@dataclass(frozen=True)
class LoadedModel:
    """A bundle with its engine, and the rules its images are judged by.

    ``refuses``: whether pictures that are no frontal chest radiographs are refused or referred.
    """

    bundle: Bundle
    engine: Engine
    rules: Rules
    refuses: bool = False

    async def release(self) -> None:
        """Let go of what is held elsewhere: nothing."""


LoadModel: TypeAlias = Callable[[Bundle, Settings], LoadedModel]
"""Loads an opened bundle. Blocks for seconds; raises as :func:`load_model`."""


@dataclass(frozen=True)
class Candidate:
    """A version that was loaded and could be served."""

    found: Found
    model: LoadedModel
    explainer: Explainer | None = None


@dataclass(frozen=True)
class Failure:
    """A version that cannot be served, with the reason for operators and clients."""

    found: Found
    reason: str
    error: Exception


class Loader:
    """Loads versions from disk. Its methods block for seconds."""

    def __init__(
        self,
        settings: Settings,
        load_model: LoadModel,
        build_explainer: ExplainerBuilder | None = None,
    ) -> None:
        self._settings = settings
        self._load_model = load_model
        self._build_explainer = build_explainer

    def look(self) -> list[Found]:
        """Return what the repository holds of the models that are wanted."""
        settings = self._settings
        return scan_repository(
            Path(settings.bundles_dir), settings.model_names, settings.model_pins
        )

    def load(self, found: Found) -> Candidate:
        """Verify a bundle, warm its engine and replay its goldens.

        Raises:
            StartupError: The engine or explainer cannot be built or does not match the goldens.
            BundleError: It is incomplete or was tampered with.
        """
        bundle = open_bundle(found.path)
        if (bundle.manifest.name, bundle.manifest.version) != (found.name, found.version):
            raise BundleError(f"The bundle {found.path} was changed while it was read.")
        started_s = time.perf_counter()
        model = self._load_model(bundle, self._settings)
        log_event(
            logging.INFO,
            "model loaded",
            model=found.name,
            version=found.version,
            sha256=bundle.sha256,
            engine=model.engine.name,
            provider=model.engine.provider,
            precision=model.engine.precision,
            duration_ms=round((time.perf_counter() - started_s) * 1000, 1),
        )
        if self._build_explainer is None:
            return Candidate(found, model)
        provider, build = model.engine.provider, self._build_explainer
        return Candidate(found, model, load_explainer(bundle, provider, self._settings, build))

    def try_to_load(self, found: Found) -> Candidate | Failure:
        """Do the same, and return the reason if that fails, whatever it is."""
        try:
            return self.load(found)
        except CxrError as error:
            return Failure(found, str(error).replace(str(found.path), found.folder), error)
        except Exception as error:  # files vanish, memory ends, a library raises its own
            log_event(logging.ERROR, "bundle cannot be loaded", error, folder=found.folder)
            return Failure(found, f"It cannot be loaded ({type(error).__name__}).", error)

    def load_newest(self, names: tuple[str, ...] = ()) -> list[Candidate | Failure]:
        """Load the newest usable version of every model, and return the versions tried.

        Raises:
            StartupError: There is no bundle, a name is missing, or a version is there twice.
            CxrError: No version of any model, or of one that was asked for, can be used: the newest
                one's error. Other models that cannot be used are among the failures.
        """
        settings = self._settings
        wanted = names or settings.model_names
        root = Path(settings.bundles_dir)
        shelf = scan_repository(root, wanted, settings.model_pins)
        tried: list[Candidate | Failure] = []
        for name in dict.fromkeys(found.name for found in shelf):
            versions = newest_first(found for found in shelf if found.name == name)
            _verify_distinct(root, versions)
            tried += self._load_first(versions)
        loaded = {one.found.name for one in tried if isinstance(one, Candidate)}
        failures = [one for one in tried if isinstance(one, Failure)]
        for one in failures:
            if not loaded or one.found.name in set(wanted) - loaded:
                raise one.error
        if not loaded and not wanted:
            raise StartupError(
                f"No bundle in {root}. Export one, or set CXR_BUNDLES_DIR to the folder of bundles."
            )
        if missing := sorted(set(wanted) - loaded):
            raise StartupError(
                f"No bundle in {root} is named {', '.join(map(self._pinned, missing))}."
            )
        return tried

    def _load_first(self, versions: list[Found]) -> list[Candidate | Failure]:
        outcomes: list[Candidate | Failure] = []
        for found in versions:
            outcomes.append(self.try_to_load(found))
            if isinstance(outcomes[-1], Candidate):
                break
        return outcomes

    def _pinned(self, name: str) -> str:
        pin = self._settings.model_pins.get(name)
        return f"{name} in version {pin}" if pin else name


def load_models(
    settings: Settings, build_engine: EngineBuilder, names: tuple[str, ...] = ()
) -> dict[str, LoadedModel]:
    """Load the newest bundles without explainers, by name. Blocks for seconds.

    Raises:
        CxrError: As :meth:`Loader.load_newest`.
    """
    load = partial(load_model, build_engine=build_engine)
    tried = Loader(settings, load).load_newest(names)
    return {one.found.name: one.model for one in tried if isinstance(one, Candidate)}


def _verify_distinct(root: Path, versions: list[Found]) -> None:
    for older, newer in pairwise(versions):
        if older.version is not None and older.version == newer.version:
            raise StartupError(
                f"Two bundles in {root} are named {older.name} in version {older.version}. "
                "Remove one."
            )


def load_model(bundle: Bundle, settings: Settings, build_engine: EngineBuilder) -> LoadedModel:
    """Build the engine of an opened bundle, warm every bucket, and replay the goldens.

    Raises:
        StartupError: The engine cannot be built or does not match the goldens.
    """
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
    return LoadedModel(bundle, engine, rules_of(bundle, settings), settings.scope == "refuse")


def rules_of(bundle: Bundle, settings: Settings) -> Rules:
    """Return the rules that images are judged by, with the operator's choice."""
    return replace(bundle.rules(), unfamiliar=settings.unfamiliar)


def verify_golden_tensors(bundle: Bundle, engine: Engine, buckets: tuple[int, ...]) -> None:
    """Replay the golden tensors.

    Raises:
        StartupError: A probability differs by more than the manifest allows.
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
        StartupError: One cannot be decoded, or its probability differs by more than the manifest
            allows.
    """
    manifest = bundle.manifest
    task = manifest.task.as_task()
    for path, expected, output in _run_golden_files(bundle, engine, max_pixels):
        _verify_close(
            bundle,
            task.probabilities(output.probabilities[:1]).astype(np.float32),
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
