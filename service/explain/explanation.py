"""One prediction's explanation, compared with the prediction before anybody sees it."""

from __future__ import annotations

import logging

import numpy as np

from cxr.explain.methods import Method
from service.deadline import Deadline
from service.errors import ExplanationMismatchError
from service.inference.explaining import Explaining, ExplainTask, Explanation
from service.inference.prediction import Reading
from service.telemetry.logs import log_event


async def explain_reading(
    reading: Reading, explaining: Explaining, target: int, method: Method, deadline: Deadline
) -> Explanation:
    """Explain what the engine answered for an image.

    If the caller is cancelled, its image is taken out of the queue.

    Args:
        reading: The image and the engine's answer.
        explaining: Of the same model.
        target: Column of the class to explain.
        method: How.
        deadline: If its run has not begun by then, it is dropped.

    Raises:
        QueueFullError: There is no room; nothing was queued.
        DeadlineExceededError: It was dropped.
        InferenceFailedError: There is no finite heatmap of it.
        ExplanationMismatchError: What was explained is not what was answered.
    """
    task = ExplainTask(reading.image.model_input, target, method)
    [future] = explaining.batcher.submit([task], deadline)
    explanation = (await future).row
    verify_same_answer(reading, explanation, explaining.explainer.tolerance)
    return explanation


def verify_same_answer(reading: Reading, explanation: Explanation, tolerance: float) -> None:
    """Check that the logits explained are those answered: a picture of another answer misleads.

    Raises:
        ExplanationMismatchError: They are farther apart than the tolerance.
    """
    gap = float(np.abs(explanation.logits - reading.row.logits).max())
    if not gap <= tolerance:  # also when it is not a number
        log_event(logging.ERROR, "explanation mismatch", gap=gap, tolerance=tolerance)
        raise ExplanationMismatchError(
            "The explanation was computed for another answer than the model's and is withheld. "
            "The prediction itself can be had from /v1/predict. Report the request id."
        )
