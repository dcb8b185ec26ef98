"""Prediction sets and the band in which the model abstains."""

from __future__ import annotations

import pytest

from cxr.verdict.decision import Referral, decide
from cxr.verdict.operating_point import OperatingPoint


def rule(normal: float, pneumonia: float) -> Referral:
    least = {"NORMAL": normal, "PNEUMONIA": pneumonia}
    return Referral(coverage=0.9, least_probability=least, figures=())


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0.1, ("NORMAL",)), (0.5, ("NORMAL", "PNEUMONIA")), (0.9, ("PNEUMONIA",))],
)
def test_set_holds_the_classes_that_reach_their_least(
    probability: float, expected: tuple[str, ...]
) -> None:
    """Both classes near the middle when the classes overlap."""
    given = {"NORMAL": 1 - probability, "PNEUMONIA": probability}
    assert rule(0.3, 0.4).prediction_set(given) == expected


@pytest.mark.parametrize(("normal", "pneumonia"), [(0.3, 0.4), (0.8, 0.7), (0.5, 0.5)])
@pytest.mark.parametrize("threshold", [0.05, 0.45, 0.95])
def test_band_is_where_the_decision_is_refer(
    normal: float, pneumonia: float, threshold: float
) -> None:
    """The page draws the band; it must be what the rule does, at every operating point."""
    referral = rule(normal, pneumonia)
    point = OperatingPoint(name="p", threshold=threshold, sensitivity=1, specificity=1)
    band = referral.band(point, "PNEUMONIA")
    assert band is not None
    for step in range(1, 1000):
        p = step / 1000 + 1e-5  # between the ends, on which rounding decides
        chosen = referral.prediction_set({"NORMAL": 1 - p, "PNEUMONIA": p})
        decision = decide(p, point, positives=("PNEUMONIA",), prediction_set=chosen, in_scope=True)
        assert (decision == "refer") == (band.low < p < band.high), p


def test_no_band_for_three_classes() -> None:
    """With more classes one number does not tell."""
    least = {"A": 0.3, "B": 0.3, "C": 0.3}
    referral = Referral(coverage=0.9, least_probability=least, figures=())
    point = OperatingPoint(name="p", threshold=0.5, sensitivity=1, specificity=1)
    assert referral.band(point, "A") is None
