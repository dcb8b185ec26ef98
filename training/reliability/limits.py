"""What a run knows of its own limits: the scope gate, and when to abstain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.bundles.manifest import ScopeSection
from cxr.data.labels import Task
from cxr.data.split import Part
from cxr.images.preprocessing import Preprocessing
from cxr.networks.served import ServedNetwork
from cxr.verdict.decision import OperatingPoint
from cxr.verdict.referral import Referral
from cxr.verdict.scope_gate import Judgement, ScopeFigure, ScopeGate
from training.data.samples import Samples
from training.device import Compute
from training.recipe import Recipe
from training.reliability.outliers import FAMILIES, make_outliers
from training.reliability.referral import fit_referral
from training.reliability.scope_fit import (
    Described,
    GateData,
    Pixels,
    describe,
    fit_gate,
    without_frontal,
)
from training.reliability.scope_measure import (
    PictureSet,
    judge_all,
    measure_scope,
    picture_set,
    read_pictures,
)

BATCH = 64
MADE_OF_EACH = 60  # outliers of a family that are measured
OUTLIER_SEED = 1000  # far from the seeds of fitting
MEASURED: tuple[Part, ...] = ("val", "test")


@dataclass(frozen=True)
class NamedFolder:
    """A folder of pictures with a name for the report."""

    name: str
    path: Path


@dataclass(frozen=True)
class Elsewhere:
    """Pictures from elsewhere.

    Attributes:
        frontal: Frontal chest radiographs of other hospitals, fitted on and, by halves,
            measured.
        in_scope: Further ones that are only measured.
        out_of_scope: Other pictures, which are only measured.
    """

    frontal: tuple[NamedFolder, ...] = ()
    in_scope: tuple[NamedFolder, ...] = ()
    out_of_scope: tuple[NamedFolder, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What is written into a run."""

    gate: ScopeGate
    scope: ScopeSection
    referral: Referral


class Given(NamedTuple):
    """What a network gave: probabilities (N, K) and embeddings (N, D)."""

    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float32]


class Answers:
    """A network's answers for many model inputs, as it is served.

    Args:
        served: The network.
        compute: Device; the precision is float32, as the exported graph's.
    """

    def __init__(self, served: ServedNetwork, compute: Compute) -> None:
        self._served = served.to(compute.device)
        self._device = compute.device

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Given:
        """Answer for model inputs (N, 1, S, S)."""
        probabilities, embeddings = [], []
        for start in range(0, len(pixels), BATCH):
            answer = self._served(torch.from_numpy(pixels[start : start + BATCH]).to(self._device))
            probabilities.append(answer.probabilities.cpu())
            embeddings.append(answer.embedding.cpu())
        return Given(torch.cat(probabilities).double().numpy(), torch.cat(embeddings).numpy())

    def embed(self, pixels: Pixels) -> NDArray[np.float32]:
        """Embeddings alone."""
        return self(pixels).embeddings


def find_limits(
    served: ServedNetwork,
    recipe: Recipe,
    task: Task,
    point: OperatingPoint,
    parts: dict[Part, Samples],
    spec: Preprocessing,
    compute: Compute,
    elsewhere: Elsewhere | None = None,
) -> Limits:
    """Fit and measure the scope gate and the abstaining of a trained network.

    Args:
        served: The network as it is served.
        recipe: Gives the changed copies' ranges, coverage, ages and seed.
        task: The question.
        point: The default operating point.
        parts: Samples of the split by patient.
        spec: Preprocessing of the samples.
        compute: Device.
        elsewhere: Pictures of other sources; without them the measurement of families that
            the gate was not shown is left out, too.

    Raises:
        DataError: A folder holds no picture, or a class has no validation image.
    """
    answers = Answers(served, compute)
    other = elsewhere or Elsewhere()

    def read(folders: Sequence[NamedFolder], *, frontal: bool) -> list[PictureSet]:
        return [
            read_pictures(f.name, f.path, spec, answers.embed, frontal=frontal) for f in folders
        ]

    frontal = read(other.frontal, frontal=True)
    data = GateData(
        train=parts["train"].pixels,
        val=parts["val"].pixels,
        frontal=np.concatenate([parts["val"].pixels[:0], *(f.pixels for f in frontal)]),
        augmentation=recipe.augmentation,
        seed=recipe.seed,
    )
    answered = {part: answers(parts[part].pixels) for part in MEASURED if len(parts[part])}
    described = describe(data, answers.embed, answered["val"].embeddings)
    gate, thresholds = fit_gate(described, data.seed)
    sources = parts["test"].pixels if len(parts["test"]) else parts["val"].pixels
    made = [_made(family, sources, answers) for family in FAMILIES]
    pictures = [
        *(_radiographs(part, parts[part], given) for part, given in answered.items()),
        *read(other.in_scope, frontal=True),
        *read(other.out_of_scope, frontal=False),
        *made,
    ]
    figures = [measure_scope(p, judge_all(p, gate, thresholds)) for p in pictures]
    if elsewhere is not None:
        figures += _cross_fitted(frontal, data, described)
        figures += [_never_shown(p, described, data.seed) for p in made]
    return Limits(
        gate=gate,
        scope=ScopeSection(
            thresholds=thresholds, ages_years=recipe.ages_years, figures=tuple(figures)
        ),
        referral=_referral(answered, parts, recipe.coverage, point, task),
    )


def _radiographs(part: Part, samples: Samples, given: Given) -> PictureSet:
    groups = [str(patient) for patient in samples.patients]
    name = f"{part} patients"
    return picture_set(name, samples.pixels, given.embeddings, frontal=True, groups=groups)


def _made(family: str, sources: Pixels, answers: Answers) -> PictureSet:
    pixels = make_outliers(family, sources, MADE_OF_EACH, OUTLIER_SEED)
    return picture_set(family, pixels, answers.embed(pixels), frontal=False)


def _cross_fitted(
    sets: Sequence[PictureSet], data: GateData, described: Described
) -> list[ScopeFigure]:
    """Measure each half of other hospitals' patients by a gate fitted without them."""
    halves = [np.unique(p.groups, return_inverse=True)[1] % 2 for p in sets]
    of_all = np.concatenate(halves) if halves else np.zeros(0, dtype=np.int64)
    gates = [
        fit_gate(without_frontal(data, described, of_all == half), data.seed)
        for half in ((0, 1) if sets else ())
    ]
    figures = []
    for pictures, own in zip(sets, halves, strict=True):
        judged: list[Judgement] = []
        for half, (gate, thresholds) in enumerate(gates):
            judged += judge_all(pictures.take(own != half), gate, thresholds)
        order = np.concatenate([np.flatnonzero(own != half) for half in (0, 1)])
        ordered = [judged[i] for i in np.argsort(order)]
        figures.append(measure_scope(pictures, ordered))
    return figures


def _never_shown(pictures: PictureSet, described: Described, seed: int) -> ScopeFigure:
    """Measure outliers of a family by a gate that has never seen its like."""
    gate, thresholds = fit_gate(described, seed, left_out=(pictures.name,))
    judged = judge_all(pictures, gate, thresholds)
    return measure_scope(replace(pictures, name=f"{pictures.name}, never shown"), judged)


def _referral(
    answered: dict[Part, Given],
    parts: dict[Part, Samples],
    coverage: float,
    point: OperatingPoint,
    task: Task,
) -> Referral:
    test, measured = parts["test"], None
    if len(test):
        measured = (answered["test"].probabilities, test.labels, test.patients)
    val = (answered["val"].probabilities, parts["val"].labels)
    return fit_referral(val, measured, coverage, point, task)
