"""Temperature and operating points."""

from __future__ import annotations

import numpy as np
import pytest

from training.recipe import PointTargets
from training.reliability.calibrate import (
    Scored,
    choose_operating_points,
    fit_temperature,
    probabilities_of,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 4000)
MARGINS = RNG.normal(2.0 * LABELS - 1.0, 1.0)
LOGITS = np.stack([-MARGINS, MARGINS], axis=1).astype(np.float32)  # honest: log-odds 2 * margin


@pytest.mark.parametrize("factor", [0.25, 1.0, 5.0])
def test_temperature_undoes_over_and_under_confidence(factor: float) -> None:
    """Logits of honest log-odds times a factor get that factor as temperature."""
    assert fit_temperature(LOGITS * factor, LABELS) == pytest.approx(factor, rel=0.1)


def test_probabilities_sum_over_classes() -> None:
    """The two classes' probabilities add to one."""
    assert np.allclose(probabilities_of(LOGITS, 2.0).sum(axis=1), 1.0)


HONEST = Scored(probabilities_of(LOGITS, 1.0)[:, 1], LABELS)


def moved(shift: float) -> Scored:
    """The same images, the negatives of which look more positive."""
    margins = MARGINS + shift * (LABELS == 0)
    return Scored(1.0 / (1.0 + np.exp(-2.0 * margins)), LABELS)


def test_operating_points_reach_their_targets_in_order() -> None:
    """Screening catches nearly all, rule-in hardly errs, balanced lies between."""
    points = {p.name: p for p in choose_operating_points(HONEST, HONEST, PointTargets())}
    assert points["screening"].threshold <= points["balanced"].threshold
    assert points["balanced"].threshold <= points["rule_in"].threshold
    assert points["screening"].sensitivity >= 0.99
    assert points["rule_in"].specificity >= 0.99
    assert points["balanced"].threshold == pytest.approx(0.5, abs=0.1)


def test_promises_hold_on_plain_images_where_stressed_ones_are_easier() -> None:
    """Stress that lifts every probability does not lower what screening promises."""
    easier = Scored(np.minimum(HONEST.probabilities + 0.3, 1.0), LABELS)
    points = {p.name: p for p in choose_operating_points(HONEST, easier, PointTargets())}
    assert points["screening"].sensitivity >= 0.98
    assert points["rule_in"].specificity >= 0.95


def test_stress_moves_the_threshold_and_plain_images_give_the_figures() -> None:
    """Where stressed negatives look positive, the threshold rises; figures are the plain ones."""
    plain = choose_operating_points(HONEST, HONEST, PointTargets())[0]
    stressed = choose_operating_points(HONEST, moved(0.7), PointTargets())[0]
    assert stressed.threshold > plain.threshold + 0.05
    called = HONEST.probabilities >= stressed.threshold
    assert stressed.sensitivity == pytest.approx(called[LABELS == 1].mean())
    assert stressed.specificity == pytest.approx(1 - called[LABELS == 0].mean())


def test_balanced_does_not_hang_on_a_handful_of_images() -> None:
    """Ten images that shift the maximum of Youden's J leave the threshold about where it was."""
    odd = Scored(np.append(HONEST.probabilities, [0.7] * 10), np.append(LABELS, [0] * 10))
    first = choose_operating_points(HONEST, HONEST, PointTargets())[0]
    second = choose_operating_points(odd, odd, PointTargets())[0]
    assert second.threshold == pytest.approx(first.threshold, abs=0.05)


def test_populations_count_alike() -> None:
    """A large one does not draw the line of a small one."""
    few = HONEST.labels[:500]
    small = moved(0.7).probabilities[:500]
    names = np.array(["large"] * len(LABELS) + ["small"] * len(few))
    both = Scored(np.append(HONEST.probabilities, small), np.append(LABELS, few), names)
    pooled = Scored(both.probabilities, both.labels)
    thresholds = np.array([0.3, 0.5, 0.7])
    alone = Scored(small, few)
    expected = (HONEST.specificity(thresholds) + alone.specificity(thresholds)) / 2
    assert both.specificity(thresholds) == pytest.approx(expected)
    assert np.all(pooled.specificity(thresholds) > both.specificity(thresholds))
    assert (
        choose_operating_points(both, both, PointTargets())[0].threshold
        > choose_operating_points(pooled, pooled, PointTargets())[0].threshold
    )


def test_a_population_without_a_class_does_not_count_for_it() -> None:
    """One of whom all are sick says nothing of specificity."""
    names = np.array(["mixed"] * len(LABELS) + ["sick"] * 5)
    both = Scored(np.append(HONEST.probabilities, [0.9] * 5), np.append(LABELS, [1] * 5), names)
    thresholds = np.array([0.3, 0.5, 0.7])
    assert np.array_equal(both.specificity(thresholds), HONEST.specificity(thresholds))


def test_perfect_separation_puts_thresholds_in_the_gap() -> None:
    """With classes apart every threshold lies strictly between them."""
    apart = Scored(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))
    for point in choose_operating_points(apart, apart, PointTargets()):
        assert point.threshold == pytest.approx(0.5)
        assert point.sensitivity == point.specificity == 1.0
