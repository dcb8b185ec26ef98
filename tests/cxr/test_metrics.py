"""Metrics against their definitions and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from cxr.errors import DataError
from cxr.metrics.binary import Ranking, expected_calibration_error, measure
from cxr.metrics.estimate import Estimate, format_estimate

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 400)
PROBABILITIES = np.clip(0.5 * LABELS + RNG.uniform(0, 0.6, 400), 0, 1)


def test_figures_by_hand() -> None:
    """Four images, one of each kind of answer."""
    figures = measure([1, 1, 0, 0], [0.9, 0.2, 0.8, 0.1], {"p": 0.5}, replicates=0)["p"]
    assert figures["sensitivity"].value == figures["specificity"].value == 0.5
    assert figures["ppv"].value == figures["npv"].value == figures["accuracy"].value == 0.5
    assert figures["false_negatives"].value == 1
    assert figures["auroc"].value == 0.75


def test_figures_agree_with_scikit_learn() -> None:
    """The same numbers as the library gives."""
    figures = measure(LABELS, PROBABILITIES, {"p": 0.55}, replicates=0)["p"]
    assert figures["auroc"].value == pytest.approx(roc_auc_score(LABELS, PROBABILITIES))
    assert figures["f1"].value == pytest.approx(f1_score(LABELS, PROBABILITIES >= 0.55))
    assert figures["brier"].value == pytest.approx(brier_score_loss(LABELS, PROBABILITIES))


def test_interval_holds_the_figure_and_narrows_with_more_patients() -> None:
    """A quarter of the images gives a wider interval."""
    wide = measure(LABELS[:100], PROBABILITIES[:100], {"p": 0.55}, replicates=200)["p"]["accuracy"]
    narrow = measure(LABELS, PROBABILITIES, {"p": 0.55}, replicates=200)["p"]["accuracy"]
    assert narrow.low is not None
    assert narrow.high is not None
    assert narrow.low < narrow.value < narrow.high  # type: ignore[operator]
    assert wide.high - wide.low > 1.4 * (narrow.high - narrow.low)  # type: ignore[operator]


def test_patients_are_resampled_as_wholes() -> None:
    """Copies of one image under one patient add no certainty."""
    patients = [str(i // 4) for i in range(400)]
    labels, probabilities = np.repeat(LABELS[:100], 4), np.repeat(PROBABILITIES[:100], 4)
    grouped = measure(labels, probabilities, {"p": 0.55}, patients, replicates=200)["p"]["accuracy"]
    single = measure(labels, probabilities, {"p": 0.55}, None, replicates=200)["p"]["accuracy"]
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)  # type: ignore[operator]


def test_undefined_figures_are_none() -> None:
    """Without negative images there is no specificity and no AUROC."""
    figures = measure([1, 1], [0.3, 0.7], {"p": 0.5}, replicates=5)["p"]
    assert figures["specificity"].value is None
    assert figures["auroc"].value is None
    assert figures["sensitivity"].value == 0.5


def test_calibration_error_of_a_sure_and_wrong_answer_is_one() -> None:
    """Predicting 1 for negatives is as far off as can be; predicting frequencies is not."""
    ones = np.ones(10)
    assert expected_calibration_error(0 * ones, ones, ones) == 1.0
    half = np.array([0.0, 1.0] * 5)
    assert expected_calibration_error(half, 0.5 * ones, ones) == 0.0


@pytest.mark.parametrize("probabilities", [[], [float("nan")]])
def test_nothing_to_measure_is_an_error(probabilities: list[float]) -> None:
    """No image, or a probability that is not a number, is never a figure."""
    with pytest.raises(DataError, match="Nothing to measure"):
        measure([1] * len(probabilities), probabilities, {"p": 0.5})


def test_estimates_for_people() -> None:
    """Shares have three digits, counts none, undefined figures a dash."""
    share = Estimate(value=0.97312, low=0.96, high=0.98)
    assert format_estimate("auroc", share) == "0.973 (0.960 to 0.980)"
    assert format_estimate("false_negatives", Estimate(value=3, low=1, high=6)) == "3 (1 to 6)"
    assert format_estimate("auroc", Estimate(value=None, low=None, high=None)) == "-"


def test_ranking_is_that_of_scikit_learn() -> None:
    """Areas equal the library's for ties, weights and left-out images; one side alone has none."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300).astype(np.float64)
    values = np.round(rng.normal(labels, 1.5), 1)  # many ties
    for weights in (np.ones(300), rng.integers(0, 4, 300).astype(np.float64)):
        auroc, precision = Ranking(labels, values).areas(weights)
        assert auroc == pytest.approx(roc_auc_score(labels, values, sample_weight=weights))
        assert precision == pytest.approx(
            average_precision_score(labels, values, sample_weight=weights)
        )
    assert np.isnan(Ranking(labels, values).areas(labels)).all()
