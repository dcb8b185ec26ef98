"""Explanations of answers, without PyTorch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import Rounding
from cxr.bundles.methods import Method
from cxr.pixels.image import ModelInput
from service.errors import InferenceFailedError, NothingExplainsError, StartupError
from service.scheduling.batcher import NOT_FINITE, Batcher, Run
from service.settings import Settings
from service.telemetry.logs import log_event


@dataclass(frozen=True)
class ExplainTask:
    """A model input (1, S, S), uint8, and its explanation's column and method."""

    model_input: ModelInput
    target: int
    method: Method


@dataclass(frozen=True)
class Explanation:
    """A heatmap and the answer it explains; float32.

    Attributes:
        heatmap: Shape (h, w), in [0, 1], at the layer's resolution.
        logits: Shape (K,), uncalibrated.
        embedding: Shape (D,).
    """

    heatmap: NDArray[np.float32]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True)
class Tolerance:
    """How far an explained answer may differ from the engine's.

    Attributes:
        logits: Largest absolute difference.
        embedding: Relative length of the difference.
    """

    logits: float
    embedding: float

    def widened(self, rounding: Rounding) -> Tolerance:
        """Add the engine's rounding."""
        return Tolerance(self.logits + rounding.logits, self.embedding + rounding.embedding)


FP32_TOLERANCE = Tolerance(1e-3, 1e-3)
"""Over radiographs and both shipped models the logits differed by 2e-6 at most in float32, which
leaves room for other kernels (CUDA's, another CPU's)."""


class Explainer(Protocol):
    """Explains one model's answers. One thread at a time."""

    @property
    def layer(self) -> str:
        """Explained layer's name."""

    @property
    def precision(self) -> str:
        """Number format: ``fp32`` or ``bf16``."""

    @property
    def tolerance(self) -> Tolerance:
        """Allowed difference from a float32 engine."""

    def prepare_thread(self) -> None:
        """Limit the calling thread before its first batch."""

    async def release(self) -> None:
        """Let go of what is held elsewhere."""

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> list[Explanation]:
        """Explain model inputs (N, 1, S, S), uint8."""


ExplainerBuilder: TypeAlias = Callable[[Bundle, str, Settings], Explainer]
"""Makes the explainer of a bundle beside an engine on that provider. Raises StartupError."""


@dataclass(frozen=True)
class ExplainRunner:
    """Runs an explainer behind a batcher; non-finite explanations fail alone."""

    explainer: Explainer

    def form(self, payloads: Sequence[ExplainTask]) -> Run[Explanation]:
        """Stack the model inputs."""
        images = np.stack([task.model_input for task in payloads])
        targets = [task.target for task in payloads]
        methods = [task.method for task in payloads]

        def run() -> list[Explanation | InferenceFailedError]:
            return list(map(_finite, self.explainer.explain(images, targets, methods)))

        return run

    def prepare_thread(self) -> None:
        """Prepare the batcher's thread."""
        self.explainer.prepare_thread()


def _finite(found: Explanation) -> Explanation | InferenceFailedError:
    parts = (found.heatmap, found.logits, found.embedding)
    if all(np.isfinite(part).all() for part in parts):
        return found
    return InferenceFailedError(NOT_FINITE)


@dataclass(frozen=True)
class Explaining:
    """An explainer behind a batcher."""

    explainer: Explainer
    batcher: Batcher[ExplainTask, Explanation]
    tolerance: Tolerance


def load_explainer(
    bundle: Bundle, provider: str, settings: Settings, build_explainer: ExplainerBuilder
) -> Explainer | None:
    """Do as :func:`build_verified`, but return None and log why where nothing explains the model.

    Raises:
        StartupError: It cannot be built, or does not reproduce the golden tensors.
    """
    try:
        return build_verified(bundle, provider, settings, build_explainer)
    except NothingExplainsError as error:  # predictions go on without
        name = bundle.manifest.name
        log_event(logging.WARNING, "explanations are off", model=name, reason=str(error))
        return None


def build_verified(
    bundle: Bundle, provider: str, settings: Settings, build_explainer: ExplainerBuilder
) -> Explainer:
    """Build a bundle's explainer and verify it against the golden tensors.

    Raises:
        NothingExplainsError: Nothing here explains it, and nobody insisted.
        StartupError: It cannot be built, or does not reproduce them.
    """
    explainer = build_explainer(bundle, provider, settings)
    goldens = bundle.golden_tensors()
    [target, *_] = bundle.manifest.task.as_task().positive_columns
    step = settings.explain_max_batch
    for start in range(0, len(goldens.images), step):
        images = goldens.images[start : start + step]
        methods: list[Method] = ["gradcam"] * len(images)
        found = explainer.explain(images, [target] * len(images), methods)
        expected = goldens.logits[start : start + step]
        gap = float(np.abs(np.stack([one.logits for one in found]) - expected).max())
        allowed = explainer.tolerance.logits
        if not gap <= allowed:  # also when it is not a number
            raise StartupError(
                f"The weights of model {bundle.manifest.name} do not reproduce its golden "
                f"tensors: the logits differ by {gap:.2g}, more than the {allowed:.2g} allowed. "
                "Export the bundle again, or set CXR_EXPLAIN=off."
            )
    return explainer
