"""The rule that turns a calibrated probability into a decision."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

# Unlike a plain alias it has a name in JSON schemas.
Decision = TypeAliasType("Decision", Literal["positive", "negative", "refer"])


class OperatingPoint(BaseModel):
    """A named threshold on the finding's calibrated probability.

    ``sensitivity`` and ``specificity`` are those it had on the validation patients, on which
    it was chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    threshold: float = Field(ge=0.0, le=1.0)
    sensitivity: float = Field(ge=0.0, le=1.0)
    specificity: float = Field(ge=0.0, le=1.0)


def decide(
    probability: float,
    point: OperatingPoint,
    *,
    positives: Collection[str],
    prediction_set: Collection[str],
    in_scope: bool,
) -> Decision:
    """Decide on one image.

    Args:
        probability: Calibrated probability of the finding, in [0, 1].
        point: The operating point in force.
        positives: Classes that make up the finding.
        prediction_set: Classes that cannot be ruled out (:mod:`cxr.verdict.referral`).
        in_scope: False when the image is not one the model was made for.

    Returns:
        ``positive`` at or above the threshold, ``negative`` below it, if the prediction set
        says the same and nothing else; ``refer`` if it does not, and out of scope.
    """
    reached = probability >= point.threshold
    said = {name in positives for name in prediction_set}
    if not in_scope or said != {reached}:
        return "refer"
    return "positive" if reached else "negative"
