"""One prediction's explanation, compared with the prediction before anybody sees it."""

from __future__ import annotations

import logging

import numpy as np

from cxr.explain.methods import Method
from service.deadline import Deadline
from service.errors import ExplanationMismatchError
from service.explain.explaining import Explaining, ExplainTask, Explanation, Tolerance
from service.models.predictor import Reading
from service.telemetry.logs import log_event

SHORTEST = 1e-6  # an embedding this short is as good as zero: no direction to compare


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
    verify_same_answer(reading, explanation, explaining.tolerance)
    return explanation


def verify_same_answer(reading: Reading, explanation: Explanation, tolerance: Tolerance) -> None:
    """Check that the answer explained is the one given: a picture of another one misleads.

    Raises:
        ExplanationMismatchError: Logits or embedding are farther apart than the tolerance.
    """
    row = reading.row
    logits = float(np.abs(explanation.logits - row.logits).max())
    length = max(float(np.linalg.norm(row.embedding)), SHORTEST)
    embedding = float(np.linalg.norm(explanation.embedding - row.embedding)) / length
    # Negated, so that what is not a number is none that is close enough.
    if not (logits <= tolerance.logits and embedding <= tolerance.embedding):
        log_event(logging.ERROR, "explanation mismatch", logits=logits, embedding=embedding)
        raise ExplanationMismatchError(
            "The explanation was computed for another answer than the model's and is withheld. "
            "The prediction itself can be had from /v1/predict. Report the request id."
        )
