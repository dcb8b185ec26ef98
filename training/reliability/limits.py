"""A run's scope gate, and when it abstains."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.bundles.manifest import SCOPE_NAME, WEIGHTS_NAME, ScopeSection
from cxr.bundles.run import RUN_NAME, Run, open_run
from cxr.data.dataset import DataSets
from cxr.data.labels import Task
from cxr.data.split import PARTS, SPLIT_NAME, Part, list_divided, read_split_file
from cxr.errors import RunError
from cxr.files import new_directory, sha256_of_file
from cxr.images.decoding import Preprocessing
from cxr.metrics.estimate import format_estimate
from cxr.networks.served import ServedNetwork, served_network
from cxr.verdict.decision import Referral
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.scope import Judgement, ScopeFigure, ScopeGate
from training.data.samples import Samples, load_samples
from training.data.split import samples_of
from training.device import Compute
from training.recipe import Recipe
from training.reliability.outliers import FAMILIES, make_outliers
from training.reliability.referral_fit import fit_referral
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
    list_pictures,
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
    """A folder of pictures, named for the report."""

    name: str
    path: Path


@dataclass(frozen=True)
class ExternalImages:
    """Pictures from other sources."""

    frontal: tuple[NamedFolder, ...] = ()
    in_scope: tuple[NamedFolder, ...] = ()
    out_of_scope: tuple[NamedFolder, ...] = ()


@dataclass(frozen=True)
class FittedLimits:
    """What is written into a run."""

    gate: ScopeGate
    scope: ScopeSection
    referral: Referral


class NetworkOutputs(NamedTuple):
    """Probabilities (N, K) and embeddings (N, D)."""

    probabilities: NDArray[np.float64]
    embeddings: NDArray[np.float32]


class Answers:
    """Runs a network as it is served, in float32."""

    def __init__(self, served: ServedNetwork, compute: Compute) -> None:
        self._served = served.to(compute.device)
        self._device = compute.device

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> NetworkOutputs:
        """Answer for model inputs (N, 1, S, S)."""
        probabilities, embeddings = [], []
        for start in range(0, len(pixels), BATCH):
            answer = self._served(torch.from_numpy(pixels[start : start + BATCH]).to(self._device))
            probabilities.append(answer.probabilities.cpu())
            embeddings.append(answer.embedding.cpu())
        return NetworkOutputs(
            torch.cat(probabilities).double().numpy(), torch.cat(embeddings).numpy()
        )

    def embed(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return the embeddings alone."""
        return self(pixels).embeddings


def find_limits(
    served: ServedNetwork,
    recipe: Recipe,
    task: Task,
    point: OperatingPoint,
    parts: dict[Part, Samples],
    spec: Preprocessing,
    compute: Compute,
    external: ExternalImages | None = None,
) -> FittedLimits:
    """Fit and measure scope gate and referral of a trained network.

    ``external``: Pictures of other sources; None also skips measuring families withheld from the
    gate. DataError if a folder has no picture, or a class no validation image.
    """
    answers = Answers(served, compute)
    other = external or ExternalImages()

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
    if external is not None:
        figures += _cross_fitted(frontal, data, described)
        figures += [_never_shown(p, described, data.seed) for p in made]
    return FittedLimits(
        gate=gate,
        scope=ScopeSection(
            thresholds=thresholds, ages_years=recipe.ages_years, figures=tuple(figures)
        ),
        referral=_referral(answered, parts, recipe.coverage, point, task),
    )


def _radiographs(part: Part, samples: Samples, given: NetworkOutputs) -> PictureSet:
    groups = [str(patient) for patient in samples.patients]
    name = f"{part} patients"
    return picture_set(name, samples.pixels, given.embeddings, frontal=True, groups=groups)


def _made(family: str, sources: Pixels, answers: Answers) -> PictureSet:
    pixels = make_outliers(family, sources, MADE_OF_EACH, OUTLIER_SEED)
    return picture_set(family, pixels, answers.embed(pixels), frontal=False)


def _cross_fitted(
    sets: Sequence[PictureSet], data: GateData, described: Described
) -> list[ScopeFigure]:
    """Measure each half of other hospitals' patients by a gate fitted without it."""
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
    gate, thresholds = fit_gate(described, seed, left_out=(pictures.name,))
    judged = judge_all(pictures, gate, thresholds)
    return measure_scope(replace(pictures, name=f"{pictures.name}, never shown"), judged)


def _referral(
    answered: dict[Part, NetworkOutputs],
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


def refit_limits(
    run_path: Path,
    data: DataSets,
    external: ExternalImages,
    compute: Compute,
    *,
    ages: tuple[float, float] | None = None,
    quiet: bool = False,
) -> Run:
    """Fit and measure a run's limits again and replace the run atomically, but for its weights.

    ``ages``: Youngest and oldest patients in years; None for the recipe's.

    RunError for a damaged run, DataError for an unusable data set or folder.
    """
    run = open_run(run_path)
    for folder in (*external.frontal, *external.in_scope, *external.out_of_scope):
        list_pictures(folder.path)  # before the long work
    task, recipe = run.task.as_task(), Recipe.model_validate(run.recipe)
    rows = read_split_file(run_path / SPLIT_NAME)
    samples = load_samples(
        list_divided(data, task, [row.name for row in rows]),
        run.preprocessing,
        task,
        os.cpu_count() or 1,
        quiet,
    )
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    point = next(p for p in run.operating_points if p.name == run.default_operating_point)
    if ages is not None:
        recipe = recipe.model_copy(update={"ages_years": ages})
    served = served_network(run_path / WEIGHTS_NAME, run)
    found = find_limits(served, recipe, task, point, parts, run.preprocessing, compute, external)
    with new_directory(run_path, RUN_NAME) as directory:
        shutil.copytree(run_path, directory, dirs_exist_ok=True)
        found.gate.save(directory / SCOPE_NAME)
        changes = {
            "scope": found.scope,
            "referral": found.referral,
            "scope_sha256": sha256_of_file(directory / SCOPE_NAME),
        }
        changed = run.model_copy(update=changes)
        (directory / RUN_NAME).write_text(changed.model_dump_json(indent=2) + "\n")
    return changed


def named_folder(text: str) -> NamedFolder:
    """Parse ``NAME=DIR``, or raise RunError."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise RunError(f"{text!r} is not NAME=DIR: a name for the report and a folder.")
    return NamedFolder(name, Path(path))


def format_limits(run: Run) -> str:
    """Return the figures as tables."""
    lines = [f"{'scope':34}{'images':>8}  {'flagged':24}{'refused':>9}{'unusual':>9}"]
    for figure in run.scope.figures:
        kind = "in " if figure.frontal else "out"
        flagged = format_estimate("flagged", figure.flagged)
        lines.append(
            f"{kind} {figure.name:30}{figure.images:>8}  {flagged:24}"
            f"{figure.refused:>9.3f}{figure.unusual:>9.3f}"
        )
    lines += ["", f"{'coverage asked':>14}  {'reached':24}{'referred':24}accuracy of the rest"]
    for one in run.referral.figures:
        cells = (one.coverage, one.referred, one.accuracy)
        lines.append(
            f"{one.target:>14.2f}  " + "".join(f"{format_estimate('', c):24}" for c in cells)
        )
    return "\n".join(line.rstrip() for line in lines)
