"""Temperature and operating points, chosen on the validation patients alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from cxr.decision import OperatingPoint
from cxr.metrics import threshold_figures
from training.recipe import PointTargets

TEMPERATURE_RANGE = (0.05, 20.0)

BALANCED = "balanced"
SCREENING = "screening"
RULE_IN = "rule_in"


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Give the divisor of the logits that makes the labels most likely.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.

    Args:
        logits: Shape (N, K).
        labels: Shape (N,), class indices.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        return float(-log_softmax(scaled, axis=1)[rows, labels].mean())

    low, high = np.log(TEMPERATURE_RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def probabilities_of(
    logits: NDArray[np.float32], temperature: float, positive: int
) -> NDArray[np.float64]:
    """Calibrated probability of one class, shape (N,), of logits (N, K)."""
    return np.asarray(softmax(logits.astype(np.float64) / temperature, axis=1)[:, positive])


def choose_operating_points(
    stressed: NDArray[np.float64],
    stressed_labels: NDArray[np.int64],
    plain: NDArray[np.float64],
    plain_labels: NDArray[np.int64],
    targets: PointTargets,
) -> tuple[OperatingPoint, ...]:
    """Choose the three thresholds.

    They are chosen on stressed images, which err as images of another day or device would: on
    plain ones the classes hardly overlap and the best threshold is left to chance. The
    sensitivity and specificity that go with them are those on plain images.

    ``balanced`` lies in the middle of the thresholds whose sum of sensitivity and specificity
    (Youden's J) is within one standard error of the best; ``screening`` is the highest
    threshold that reaches its sensitivity, ``rule_in`` the lowest that reaches its
    specificity, and neither lies on the wrong side of ``balanced``.

    Args:
        stressed: Probabilities of the positive class, shape (M,).
        stressed_labels: Shape (M,), 1 for the positive class.
        plain: Probabilities of the unchanged validation images, shape (N,).
        plain_labels: Shape (N,).
        targets: What to reach.
    """
    thresholds, sensitivity, specificity = _operating_curve(stressed, stressed_labels)
    balanced = _middle_of_the_best(
        thresholds,
        sensitivity,
        specificity,
        positives=int(plain_labels.sum()),
        negatives=int((1 - plain_labels).sum()),
    )
    screening = float(thresholds[sensitivity >= targets.screening_sensitivity].max(initial=0.0))
    rule_in = float(thresholds[specificity >= targets.rule_in_specificity].min(initial=1.0))
    chosen = {
        BALANCED: balanced,
        SCREENING: min(screening, balanced),
        RULE_IN: max(rule_in, balanced),
    }
    weights = np.ones(len(plain))
    points = []
    for name, threshold in chosen.items():
        figures = threshold_figures(plain_labels.astype(float), plain, weights, threshold)
        points.append(
            OperatingPoint(
                name=name,
                threshold=threshold,
                sensitivity=figures["sensitivity"],
                specificity=figures["specificity"],
            )
        )
    return tuple(points)


def _middle_of_the_best(
    thresholds: NDArray[Any],
    sensitivity: NDArray[Any],
    specificity: NDArray[Any],
    positives: int,
    negatives: int,
) -> float:
    """Give the middle, in log-odds, of the thresholds that are as good as the best one.

    The maximum itself is decided by a handful of images. The one-standard-error rule
    (Breiman et al., "Classification and Regression Trees", 1984) takes what cannot be told
    from it; the standard error counts images, because views of one image are not independent.
    """
    youden = sensitivity + specificity
    best = int(youden.argmax())
    variance = sensitivity[best] * (1.0 - sensitivity[best]) / max(positives, 1)
    variance += specificity[best] * (1.0 - specificity[best]) / max(negatives, 1)
    worse = np.flatnonzero(youden < youden[best] - np.sqrt(variance) - 1e-12)
    first = worse[worse < best].max(initial=-1) + 1
    last = worse[worse > best].min(initial=len(youden)) - 1
    return float(expit(logit(np.clip(thresholds[[first, last]], 1e-9, 1.0 - 1e-9)).mean()))


def _operating_curve(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Thresholds half-way between neighbouring probabilities, with what they achieve."""
    values = np.unique(probabilities)
    thresholds = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    positives = np.sort(probabilities[labels == 1])
    negatives = np.sort(probabilities[labels == 0])
    sensitivity = 1.0 - np.searchsorted(positives, thresholds) / max(len(positives), 1)
    specificity = np.searchsorted(negatives, thresholds) / max(len(negatives), 1)
    return thresholds, sensitivity, specificity
