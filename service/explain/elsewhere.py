"""Explanations in a process of their own: what they take is no prediction's."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.bundles.methods import Method
from cxr.errors import BundleError
from service.deadline import Deadline
from service.explain.explaining import (
    Explainer,
    ExplainerBuilder,
    Explanation,
    Tolerance,
    build_verified,
)
from service.settings import Settings
from service.workers.pool import WorkerPool

EXPLAINERS: dict[str, Explainer] = {}
"""In the process: what was loaded there, by key."""


@dataclass(frozen=True)
class ExplainerFacts:
    """What the process tells of an explainer."""

    layer: str
    precision: str
    tolerance: Tolerance


def load_here(
    key: str,
    path: Path,
    sha256: str,
    provider: str,
    settings: Settings,
    build_explainer: ExplainerBuilder,
) -> ExplainerFacts:
    """Load a bundle's explainer into this process.

    Raises:
        BundleError: The bundle was changed meanwhile.
        StartupError: As :func:`service.explain.explaining.build_verified`.
    """
    bundle = open_bundle(path)
    if bundle.sha256 != sha256:
        raise BundleError(f"The bundle {path} was changed while it was read.")
    EXPLAINERS[key] = explainer = build_verified(bundle, provider, settings, build_explainer)
    return ExplainerFacts(explainer.layer, explainer.precision, explainer.tolerance)


def unload_here(key: str) -> None:
    """Let go of what was loaded under a key."""
    EXPLAINERS.pop(key, None)


def explain_here(
    key: str, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
) -> list[Explanation]:
    """Explain model inputs (N, 1, S, S), uint8."""
    explainer = EXPLAINERS[key]
    explainer.prepare_thread()
    return explainer.explain(images, targets, methods)


class DistantExplainer:
    """An explainer in the other process."""

    def __init__(self, key: str, facts: ExplainerFacts, process: ExplainProcess) -> None:
        self.key = key
        self._process = process
        self.layer = facts.layer
        self.precision = facts.precision
        self.tolerance = facts.tolerance

    def prepare_thread(self) -> None:
        """Do nothing: the thread only waits."""

    async def release(self) -> None:
        """Have the other process let go of it."""
        await self._process.drop(self)

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> list[Explanation]:
        """Explain model inputs (N, 1, S, S), uint8. Any thread but the event loop's."""
        return self._process.explain(self.key, images, targets, methods)


class ExplainProcess:
    """Starts the process, and loads explainers into it. Belongs to the event loop."""

    def __init__(self, settings: Settings, build_explainer: ExplainerBuilder) -> None:
        self._settings = settings
        self._build_explainer = build_explainer
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.pool = WorkerPool(1, longest_s=settings.stall_restart_s, stands_back=True)

    def start(self) -> None:
        """Start the process."""
        self._loop = asyncio.get_running_loop()
        self.pool.start()

    async def load(self, bundle: Bundle, provider: str) -> DistantExplainer:
        """Load a bundle's explainer.

        Raises:
            CxrError: It cannot be loaded, or does not match the goldens.
        """
        key = f"{bundle.manifest.name} {next(self._numbers)}"
        path = Path(os.path.abspath(bundle.path))
        chosen = (path, bundle.sha256, provider, self._settings, self._build_explainer)
        facts = await self.pool.keep(
            key, partial(load_here, key, *chosen), partial(unload_here, key)
        )
        return DistantExplainer(key, facts, self)

    async def drop(self, explainer: DistantExplainer) -> None:
        """Let go of an explainer."""
        await self.pool.drop(explainer.key)

    def explain(
        self,
        key: str,
        images: NDArray[np.uint8],
        targets: Sequence[int],
        methods: Sequence[Method],
    ) -> list[Explanation]:
        """Explain model inputs (N, 1, S, S), uint8. Any thread but the event loop's."""
        assert self._loop is not None, "the process was started"
        job = partial(explain_here, key, images, tuple(targets), tuple(methods))
        deadline = Deadline.after_ms(self._settings.deadline_ms)
        return asyncio.run_coroutine_threadsafe(self.pool.run(job, deadline), self._loop).result()
