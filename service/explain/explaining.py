"""Explanations of answers, without PyTorch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import Rounding
from cxr.bundles.methods import Method
from cxr.pixels.image import ModelInput
from service.deadline import Deadline
from service.engines.protocol import OutputRow
from service.errors import (
    ExplanationMismatchError,
    InferenceFailedError,
    NothingExplainsError,
    StartupError,
)
from service.scheduling.batcher import NOT_FINITE
from service.settings import Settings
from service.telemetry.logs import log_event

T = TypeVar("T")

COMING = "Explanations are not ready yet. Try again."

SHORTEST = 1e-6  # an embedding this short is as good as zero: no direction to compare


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

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> list[Explanation]:
        """Explain model inputs (N, 1, S, S), uint8."""


Draw: TypeAlias = Callable[[NDArray[np.float32]], T]
"""Draws what is wanted of a heatmap (h, w). Any thread, and any process."""

ExplainerBuilder: TypeAlias = Callable[[Bundle, str, Settings], Explainer]
"""Makes the explainer of a bundle beside an engine on that provider. Raises StartupError."""


def verify_finite(found: Explanation) -> Explanation | InferenceFailedError:
    """Return an explanation, or why there is none: a number is not finite."""
    parts = (found.heatmap, found.logits, found.embedding)
    if all(np.isfinite(part).all() for part in parts):
        return found
    return InferenceFailedError(NOT_FINITE)


def verify_same_answer(row: OutputRow, explanation: Explanation, tolerance: Tolerance) -> None:
    """Check that the answer explained is the one given: a picture of another one misleads.

    Raises:
        ExplanationMismatchError: Logits or embedding are farther apart than the tolerance.
    """
    logits = float(np.abs(explanation.logits - row.logits).max())
    length = max(float(np.linalg.norm(row.embedding)), SHORTEST)
    embedding = float(np.linalg.norm(explanation.embedding - row.embedding)) / length
    # Negated, so that NaN is a mismatch.
    if not (logits <= tolerance.logits and embedding <= tolerance.embedding):
        log_event(logging.ERROR, "explanation mismatch", logits=logits, embedding=embedding)
        raise ExplanationMismatchError(
            "The explanation was computed for another answer than the model's and is withheld. "
            "The prediction itself can be had from /v1/predict. Report the request id."
        )


class Explaining(Protocol):
    """Explains answers of one model and draws what is wanted of them. Belongs to the event loop."""

    @property
    def layer(self) -> str:
        """Explained layer's name."""

    @property
    def precision(self) -> str:
        """Number format: ``fp32`` or ``bf16``."""

    @property
    def depth(self) -> int:
        """Number of explanations that have not begun."""

    @property
    def running_s(self) -> float:
        """Seconds for which something runs that only the end of this process would end."""

    def verify_room(self) -> None:
        """Check that one more explanation would be accepted.

        Raises:
            QueueFullError: Too many wait.
            NotReadyError: What explains is being started again.
        """

    async def explain(
        self, task: ExplainTask, row: OutputRow, draw: Draw[T], deadline: Deadline
    ) -> T:
        """Explain the answer in ``row`` and draw it; cancelled, it is dropped unless it has begun.

        Raises:
            QueueFullError: There is no room; nothing was queued.
            DeadlineExceededError: It had not begun before the deadline.
            InferenceFailedError: There is no finite heatmap of it.
            ExplanationMismatchError: What was explained is not what was answered.
        """

    async def stop(self) -> None:
        """Finish what was accepted, and let go of the explainer."""


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
