"""Figures of numbers."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.explore.conclusions import is_one_size
from training.explore.facts import HISTOGRAM_BINS
from training.explore.findings import Exploration, Shortcuts
from training.explore.pictures import (
    Pictures,
    draw_edges,
    draw_examples,
    draw_lookalikes,
    draw_near,
)
from training.explore.reading import Collection
from training.report.figures import NEGATIVE_COLOUR, POSITIVE_COLOUR

COLOURS = (NEGATIVE_COLOUR, POSITIVE_COLOUR, "#c98a1b", "#3c8d6b", "#7a5ca8", "#5f6b7a")
ETIOLOGY_COLOURS = (("bacterial", "#a93226"), ("viral", "#e59866"))


def draw_all(found: Exploration, collection: Collection) -> dict[str, Figure]:
    """Draw every figure by name; those with nothing to show are left out."""
    pictures = Pictures(collection)
    figures = {
        "counts": _draw_counts(found),
        "grey_levels": _draw_grey_levels(found),
        "examples": draw_examples(found, pictures),
        "edges": draw_edges(found, pictures),
        "patients": _draw_patients(found),
    }
    if not is_one_size(found):
        figures["sizes"] = _draw_sizes(found, collection)
    if found.lookalikes:
        figures["lookalikes"] = draw_lookalikes(found, pictures)
    if found.near:
        figures["near"] = draw_near(found, pictures)
    for number, shortcuts in enumerate(found.shortcuts):
        figures[f"shortcuts_{number}"] = _draw_shortcuts(shortcuts)
    return figures


def _draw_counts(found: Exploration) -> Figure:
    figure, axes = _new(9, 0.9 + 0.42 * len(found.counts))
    colours = dict(zip(found.classes, _colours(len(found.classes)), strict=True))
    longest = max(count.images for count in found.counts)
    for row, count in enumerate(found.counts):
        start = 0
        told = {"bacterial": count.bacterial, "viral": count.viral}
        if count.bacterial and count.viral:
            for kind, colour in ETIOLOGY_COLOURS:
                axes.barh(row, told[kind], left=start, color=colour)
                if told[kind] > longest / 8:
                    middle = start + told[kind] / 2
                    axes.text(middle, row, kind, ha="center", va="center", color="white", size=8)
                start += told[kind]
        axes.barh(row, count.images - start, left=start, color=colours[count.label])
        axes.text(count.images + longest / 100, row, f"{count.images:,}", va="center", size=9)
    axes.set_yticks(
        range(len(found.counts)), [f"{count.folder}  {count.label}" for count in found.counts]
    )
    axes.invert_yaxis()
    axes.set(xlabel="images", xlim=(0, longest * 1.1))
    return figure


def _draw_sizes(found: Exploration, collection: Collection) -> Figure:
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = (_calm(axes) for axes in figure.subplots(1, 2))
    aspect = collection.clues["aspect"]
    dot = 7 if len(aspect) > 1000 else 22
    edges = np.linspace(aspect.min() - 0.01, aspect.max() + 0.01, 41).tolist()
    for label, colour in zip(found.classes, _colours(len(found.classes)), strict=True):
        mine = collection.labels == label
        width, height = collection.clues["width"][mine], collection.clues["height"][mine]
        left.scatter(width, height, s=dot, alpha=0.35, color=colour, label=label, linewidths=0)
        shares = np.full(int(mine.sum()), 1.0 / mine.sum())
        right.hist(aspect[mine], edges, weights=shares, alpha=0.55, color=colour, label=label)
    left.set(xlabel="width (px)", ylabel="height (px)", title="Size")
    right.set(xlabel="width / height", ylabel="share of the class", title="Aspect ratio")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    return figure


def _draw_grey_levels(found: Exploration) -> Figure:
    figure, axes = _new(9, 3.4)
    levels = (np.arange(HISTOGRAM_BINS) + 0.5) * (256 / HISTOGRAM_BINS)
    tops = []
    for one, colour in zip(found.grey_levels, _colours(len(found.grey_levels)), strict=True):
        axes.plot(levels, one.mean, color=colour, label=one.label)
        axes.fill_between(levels, one.low, one.high, color=colour, alpha=0.15, linewidth=0)
        tops.append(max(one.high[1:]))  # black borders would press all else to the ground
    axes.set(
        xlabel="grey level", ylabel="share of pixels", xlim=(0, 256), ylim=(0, max(tops) * 1.1)
    )
    axes.legend(frameon=False, fontsize=8)
    return figure


def _draw_patients(found: Exploration) -> Figure:
    figure, axes = _new(9, 2.6)
    counts = found.patients.by_number_of_images
    axes.bar(list(counts), list(counts.values()), color=COLOURS[5], width=0.8)
    if max(counts.values()) > 20:
        axes.set_yscale("symlog")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="images of a patient", ylabel="patients")
    return figure


def _draw_shortcuts(shortcuts: Shortcuts) -> Figure:
    rows = [
        (one.title, one.auroc, f"larger in {one.larger_in}" if one.larger_in else "all the same")
        for one in shortcuts.alone
    ]
    if shortcuts.together is not None:
        rows.insert(0, ("all together", shortcuts.together, "logistic regression, other patients"))
    figure, axes = _new(9, 0.9 + 0.33 * len(rows))
    for row, (_, auroc, note) in enumerate(rows):
        colour = POSITIVE_COLOUR if row == 0 and shortcuts.together else NEGATIVE_COLOUR
        if auroc.value is None or auroc.low is None or auroc.high is None:
            continue
        axes.plot([auroc.low, auroc.high], [row, row], color=colour, linewidth=2.5, alpha=0.5)
        axes.plot(auroc.value, row, "o", color=colour, markersize=6)
        axes.text(1.02, row, f"{auroc.value:.3f}   {note}", va="center", size=8, color="#566474")
    axes.axvline(0.5, color="grey", linestyle=":")
    axes.set_yticks(range(len(rows)), [title for title, _, _ in rows])
    axes.invert_yaxis()
    axes.set(xlim=(0.45, 1.0), xlabel="AUROC")
    return figure


def _colours(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, _calm(figure.subplots())


def _calm(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes
