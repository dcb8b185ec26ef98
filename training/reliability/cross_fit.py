"""Measure a gate on pictures that were left out of its fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cxr.verdict.scope import Judgement, ScopeFigure
from training.reliability.scope_fit import Described, GateData, describe_again, fit_gate
from training.reliability.scope_measure import PictureSet, judge_all, measure_scope


class FittedOn(NamedTuple):
    """Pictures of other sources that a gate is fitted on."""

    frontal: list[PictureSet]
    others: list[PictureSet]
    laterals: list[PictureSet]


def cross_fitted(
    sets: FittedOn, data: GateData, described: Described, names: Sequence[str]
) -> list[ScopeFigure]:
    """Measure each half of the pictures of other sources by a gate fitted without it.

    ``data`` holds the pictures of each kind one set after the other; every second one is a half.
    """
    if not any(sets):
        return []
    gates = []
    for half in (0, 1):
        kept = described.embedded_frontal[1 - half :: 2]
        gates.append(fit_gate(describe_again(data.without(half), described, kept), data.seed))
    figures = []
    for kind in sets:
        first = 0
        for pictures in kind:
            halves = (np.arange(len(pictures.pixels)) + first) % 2
            first += len(pictures.pixels)
            judged: list[Judgement] = []
            for half, (gate, thresholds) in enumerate(gates):
                judged += judge_all(pictures.take(halves == half), gate, thresholds)
            order = np.argsort(np.argsort(halves, kind="stable"), kind="stable")
            figures.append(measure_scope(pictures, [judged[i] for i in order], names))
    return figures


def never_shown(
    pictures: PictureSet, described: Described, seed: int, names: Sequence[str]
) -> ScopeFigure:
    """Measure made outliers by a gate that was not shown their family."""
    gate, thresholds = fit_gate(described, seed, left_out=(pictures.name,))
    judged = judge_all(pictures, gate, thresholds)
    return measure_scope(replace(pictures, name=f"{pictures.name}, never shown"), judged, names)
