"""The rule that turns a calibrated probability into a decision."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Decision: TypeAlias = Literal["positive", "negative", "refer"]


class OperatingPoint(BaseModel):
    """A named threshold on the positive class's calibrated probability.

    ``sensitivity`` and ``specificity`` are those it had on the validation patients, on which
    it was chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    threshold: float = Field(ge=0.0, le=1.0)
    sensitivity: float = Field(ge=0.0, le=1.0)
    specificity: float = Field(ge=0.0, le=1.0)


def decide(probability: float, point: OperatingPoint, *, in_scope: bool) -> Decision:
    """Decide on one image.

    Args:
        probability: Calibrated probability of the positive class, in [0, 1].
        point: The operating point in force.
        in_scope: False when the image is not one the model was made for.

    Returns:
        ``refer`` out of scope; else ``positive`` at or above the threshold, ``negative`` below.
    """
    if not in_scope:
        return "refer"
    return "positive" if probability >= point.threshold else "negative"
