"""Temperature and operating points from validation patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, softmax

from cxr.verdict.operating_point import OperatingPoint
from training.recipe import PointTargets

Floats: TypeAlias = NDArray[np.float64]

TEMPERATURE_RANGE = (0.05, 20.0)

BALANCED = "balanced"
SCREENING = "screening"
RULE_IN = "rule_in"

MIN_SCREENING_SENSITIVITY = 0.98
MIN_RULE_IN_SPECIFICITY = 0.95
"""What the names promise on plain validation images; recipes aim higher on stressed ones."""


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the divisor of logits (N, K) that makes the labels (N,) most likely.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        return float(-log_softmax(scaled, axis=1)[rows, labels].mean())

    low, high = np.log(TEMPERATURE_RANGE)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def probabilities_of(logits: NDArray[np.float32], temperature: float) -> Floats:
    """Return calibrated probabilities (N, K) of logits (N, K)."""
    return np.asarray(softmax(logits.astype(np.float64) / temperature, axis=1))


@dataclass(frozen=True)
class Scored:
    """Probabilities of the finding (N,), labels (N,), 1 where it is present, and populations (N,).

    Populations count alike, whatever their images; None is one.
    """

    probabilities: Floats
    labels: NDArray[np.int64]
    populations: NDArray[np.str_] | None = None

    def sensitivity(self, thresholds: Floats) -> Floats:
        """Return the share of positives at or above each threshold, shape (T,)."""
        return 1.0 - self._share_below(thresholds, 1)

    def specificity(self, thresholds: Floats) -> Floats:
        """Return the share of negatives below each threshold, shape (T,)."""
        return self._share_below(thresholds, 0)

    def _share_below(self, thresholds: Floats, label: int) -> Floats:
        populations = np.zeros(len(self.labels)) if self.populations is None else self.populations
        shares = []
        for name in np.unique(populations[self.labels == label]):
            values = np.sort(self.probabilities[(self.labels == label) & (populations == name)])
            shares.append(np.searchsorted(values, thresholds) / len(values))
        return np.mean(shares, axis=0) if shares else np.zeros(len(thresholds))


def choose_operating_points(
    plain: Scored, stressed: Scored, targets: PointTargets
) -> tuple[OperatingPoint, ...]:
    """Choose the three thresholds.

    Plain validation images and stressed copies have half the weight each: stressed images err as
    those of another day or device would, while on plain ones, whose figures are stored, the classes
    hardly overlap.

    ``balanced`` is the middle of the thresholds whose Youden's J is within one standard error of
    the best. ``screening`` is the highest threshold that reaches its sensitivity on both kinds,
    ``rule_in`` the lowest that reaches its specificity; neither is on the wrong side of
    ``balanced``.
    """
    values = np.unique(np.concatenate([plain.probabilities, stressed.probabilities]))
    thresholds = (values[1:] + values[:-1]) / 2 if len(values) > 1 else values
    balanced = _middle_of_the_best(thresholds, plain, stressed)
    caught = (stressed.sensitivity(thresholds) >= targets.screening_sensitivity) & (
        plain.sensitivity(thresholds) >= MIN_SCREENING_SENSITIVITY
    )
    spared = (stressed.specificity(thresholds) >= targets.rule_in_specificity) & (
        plain.specificity(thresholds) >= MIN_RULE_IN_SPECIFICITY
    )
    chosen = {
        BALANCED: balanced,
        SCREENING: min(float(thresholds[caught].max(initial=0.0)), balanced),
        RULE_IN: max(float(thresholds[spared].min(initial=1.0)), balanced),
    }
    return tuple(
        OperatingPoint(
            name=name,
            threshold=threshold,
            sensitivity=float(plain.sensitivity(np.array([threshold]))[0]),
            specificity=float(plain.specificity(np.array([threshold]))[0]),
        )
        for name, threshold in chosen.items()
    )


def _middle_of_the_best(thresholds: Floats, plain: Scored, stressed: Scored) -> float:
    """A handful of images decides the maximum itself; hence the one-standard-error rule.

    Source: Breiman et al., "Classification and Regression Trees", 1984. The error counts images,
    because their copies are not independent.
    """
    sensitivity = (plain.sensitivity(thresholds) + stressed.sensitivity(thresholds)) / 2.0
    specificity = (plain.specificity(thresholds) + stressed.specificity(thresholds)) / 2.0
    youden = sensitivity + specificity
    best = int(youden.argmax())
    positives = max(int(plain.labels.sum()), 1)
    negatives = max(len(plain.labels) - positives, 1)
    variance = sensitivity[best] * (1.0 - sensitivity[best]) / positives
    variance += specificity[best] * (1.0 - specificity[best]) / negatives
    worse = np.flatnonzero(youden < youden[best] - np.sqrt(variance) - 1e-12)
    first = worse[worse < best].max(initial=-1) + 1
    last = worse[worse > best].min(initial=len(youden)) - 1
    return float(expit(logit(np.clip(thresholds[[first, last]], 1e-9, 1.0 - 1e-9)).mean()))
