"""Figures with confidence intervals. Imports pydantic only, for clients that read answers."""

from __future__ import annotations

from statistics import NormalDist
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict

Z_95 = NormalDist().inv_cdf(0.975)
"""Half of a 95 % interval, in standard errors: 2.5 % of a normal distribution lie above it."""

COUNTS = frozenset({"false_negatives"})
"""Figures that are numbers of images; all others are shares."""


class Estimate(BaseModel):
    """A figure with its 95 % confidence interval."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    low: float | None
    high: float | None


Metrics: TypeAlias = dict[str, Estimate]
"""Keys: accuracy, sensitivity, specificity, ppv, npv, f1, auroc, auprc, ece, brier,
false_negatives, and those of :mod:`cxr.metrics.classes`."""


def format_estimate(figure: str, estimate: Estimate) -> str:
    """Return ``0.973 (0.961 to 0.984)``, or a dash for an undefined figure."""
    if estimate.value is None:
        return "-"
    digits = 0 if figure in COUNTS else 3
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"
