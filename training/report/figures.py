"""Figures drawn with matplotlib's object interface (no global state)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from cxr.bundles.run import EpochRecord
from cxr.metrics.binary import ECE_BINS
from cxr.metrics.estimate import Metrics
from cxr.verdict.operating_point import OperatingPoint

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

POSITIVE_COLOUR, NEGATIVE_COLOUR = "#c0392b", "#2c6fbb"


def _new(width: float = 5.5, height: float = 4.5) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def draw_curves(curves: Sequence[EpochRecord]) -> Figure:
    """Draw loss and validation AUROC over the epochs; dotted lines separate phases."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    losses, aurocs = figure.subplots(1, 2)
    epochs = np.arange(1, len(curves) + 1)
    losses.plot(epochs, [r.train_loss for r in curves], marker="o", label="training")
    losses.plot(epochs, [r.val_loss for r in curves], marker="o", label="validation")
    losses.set(xlabel="epoch", ylabel="loss", title="Loss")
    losses.legend()
    values = [np.nan if r.val_auroc is None else r.val_auroc for r in curves]
    aurocs.plot(epochs, values, marker="o", color=POSITIVE_COLOUR)
    aurocs.set(xlabel="epoch", ylabel="AUROC", title="Validation AUROC")
    for epoch, (before, after) in enumerate(pairwise(curves), start=1):
        if before.phase != after.phase:
            for axes in (losses, aurocs):
                axes.axvline(epoch + 0.5, color="grey", linestyle=":")
    return figure


def draw_confusion(
    labels: Labels, called: Labels, point: OperatingPoint, names: Sequence[str]
) -> Figure:
    """Draw the confusion matrix of class indices at an operating point."""
    size = len(names)
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (labels, called), 1)
    figure, axes = _new(2.5 + size, 2.0 + size)
    axes.imshow(
        counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1
    )
    for row in range(size):
        for column in range(size):
            share = counts[row, column] / max(counts[row].sum(), 1)
            axes.text(
                column,
                row,
                f"{counts[row, column]}\n{share:.1%}",
                ha="center",
                va="center",
                color="white" if share > 0.5 else "black",
            )
    axes.set(
        xticks=range(size),
        yticks=range(size),
        xticklabels=names,
        yticklabels=names,
        xlabel="called",
        ylabel="labelled",
        title=f"Confusion matrix at {point.name} ({point.threshold:.3f})",
    )
    return figure


def draw_roc(labels: Labels, probabilities: Floats, metrics: dict[str, Metrics]) -> Figure:
    """Draw the ROC curve with the operating points."""
    figure, axes = _new()
    false_positives, sensitivity, _ = roc_curve(labels, probabilities)
    auroc = next(iter(metrics.values()))["auroc"].value
    axes.plot(false_positives, sensitivity, color=POSITIVE_COLOUR)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for name, figures in metrics.items():
        x, y = figures["specificity"].value, figures["sensitivity"].value
        if x is not None and y is not None:
            axes.plot(1 - x, y, "o", label=f"{name}: sens {y:.3f}, spec {x:.3f}")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=f"ROC, AUROC {auroc:.4f}")
    axes.legend(loc="lower right")
    return figure


def draw_precision_recall(
    labels: Labels, probabilities: Floats, metrics: dict[str, Metrics]
) -> Figure:
    """Draw the precision-recall curve with the operating points."""
    figure, axes = _new()
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    axes.plot(recall, precision, color=POSITIVE_COLOUR)
    for name, figures in metrics.items():
        x, y = figures["sensitivity"].value, figures["ppv"].value
        if x is not None and y is not None:
            axes.plot(x, y, "o", label=name)
    area = average_precision_score(labels, probabilities)
    axes.set(
        xlabel="recall (sensitivity)",
        ylabel="precision (PPV)",
        title=f"Precision and recall, AUPRC {area:.4f}",
    )
    axes.legend(loc="lower left")
    return figure


def draw_reliability(labels: Labels, probabilities: Floats, metrics: Metrics) -> Figure:
    """Draw observed frequency against predicted probability, by bin."""
    figure, axes = _new()
    bins = np.minimum((probabilities * ECE_BINS).astype(int), ECE_BINS - 1)
    count = np.bincount(bins, minlength=ECE_BINS)
    kept = count > 0
    predicted = np.bincount(bins, probabilities, ECE_BINS)[kept] / count[kept]
    observed = np.bincount(bins, labels, ECE_BINS)[kept] / count[kept]
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.plot(predicted, observed, color=NEGATIVE_COLOUR, alpha=0.5)
    axes.scatter(predicted, observed, s=12 + 150 * count[kept] / count.max(), color=NEGATIVE_COLOUR)
    axes.set(
        xlabel="predicted probability",
        ylabel="observed frequency",
        title=f"Reliability, ECE {metrics['ece'].value:.4f} (area of a dot: images)",
    )
    return figure


def draw_histogram(
    labels: Labels,
    probabilities: Floats,
    points: Sequence[OperatingPoint],
    names: tuple[str, str],
) -> Figure:
    """Draw probabilities per class with the thresholds."""
    figure, axes = _new()
    edges = np.linspace(0, 1, 41).tolist()
    for label, colour in ((0, NEGATIVE_COLOUR), (1, POSITIVE_COLOUR)):
        axes.hist(
            probabilities[labels == label], edges, alpha=0.6, color=colour, label=names[label]
        )
    for point in points:
        axes.axvline(point.threshold, color="black", linestyle=":", linewidth=1)
        axes.text(
            point.threshold, axes.get_ylim()[1], point.name, rotation=90, va="top", ha="right"
        )
    axes.set_yscale("symlog")
    axes.set(xlabel="probability of the positive class", ylabel="images", title="Probabilities")
    axes.legend(loc="upper center")
    return figure


def draw_comparison(table: dict[str, dict[str, float]], title: str) -> Figure:
    """Draw bars from a table: figure -> run -> value in [0, 1]."""
    figure, axes = _new(9, 4)
    runs = list(next(iter(table.values())))
    width = 0.8 / len(runs)
    for i, run in enumerate(runs):
        positions = np.arange(len(table)) + (i - (len(runs) - 1) / 2) * width
        heights = [values[run] for values in table.values()]
        bars = axes.bar(positions, heights, width * 0.95, label=run)
        axes.bar_label(bars, fmt="%.3f", fontsize=7, rotation=90, padding=2)
    lowest = min(v for values in table.values() for v in values.values())
    axes.set_ylim(max(0.0, np.floor(lowest * 10) / 10 - 0.1), 1.08)
    axes.set_xticks(np.arange(len(table)), list(table))
    axes.set_title(title)
    axes.legend(loc="lower right")
    return figure
