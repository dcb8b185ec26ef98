"""When the model abstains: class-conditional split conformal prediction.

Each class has a least probability, a quantile over validation images of that class. The classes
whose probability reaches theirs form the prediction set; it holds the true class with at least
the stated coverage, for each class by itself, as long as images come from where the validation
images came from.

Source: Vovk, "Conditional validity of inductive conformal predictors", Machine Learning 92, 2013.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from cxr.metrics.estimate import Estimate
from cxr.section import Section
from cxr.verdict.decision import OperatingPoint


class ReferralFigure(Section):
    """What abstaining at one coverage gives on patients that were not used for anything.

    ``coverage`` is the share of images whose set holds the true class, ``referred`` the share
    on which the model abstains at the default operating point, ``accuracy`` that of the rest.
    """

    target: float = Field(gt=0, lt=1)
    coverage: Estimate
    referred: Estimate
    accuracy: Estimate


class ReferBand(Section):
    """The range of the finding's probability in which the model abstains."""

    low: float
    high: float


class Referral(Section):
    """The rule, and what it achieves."""

    coverage: float = Field(gt=0, lt=1, description="Of the prediction set, for each class.")
    least_probability: dict[str, float] = Field(
        description="From it on a class is in the prediction set."
    )
    figures: tuple[ReferralFigure, ...]

    def prediction_set(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """Give the classes that cannot be ruled out; there may be none, or all."""
        return tuple(
            name for name, value in probabilities.items() if value >= self.least_probability[name]
        )

    def band(self, point: OperatingPoint, positive: str) -> ReferBand | None:
        """Give where the model abstains at an operating point; None for more than two classes."""
        if len(self.least_probability) != 2:
            return None
        (negative,) = set(self.least_probability) - {positive}
        ends = (
            point.threshold,
            self.least_probability[positive],
            1.0 - self.least_probability[negative],
        )
        return ReferBand(low=min(ends), high=max(ends))
