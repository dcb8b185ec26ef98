"""A run's scope gate, and when it abstains."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
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
from cxr.errors import DataError, RunError
from cxr.files import new_directory, sha256_of_file
from cxr.images.decoding import Preprocessing
from cxr.metrics.estimate import format_estimate
from cxr.networks.served import ServedNetwork, served_network
from cxr.verdict.decision import Referral
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.populations import Population
from cxr.verdict.scope import ScopeGate
from training.data.samples import Samples, load_samples
from training.data.sources import populations_of
from training.data.split import samples_of
from training.device import Compute
from training.recipe import Recipe
from training.reliability.calibrate import BALANCED
from training.reliability.cross_fit import FittedOn, cross_fitted, never_shown
from training.reliability.outliers import FAMILIES, make_outliers
from training.reliability.populations import measure_populations, specs_present
from training.reliability.referral_fit import Judged, fit_referral
from training.reliability.scope_fit import (
    UNKNOWN,
    GateData,
    Pixels,
    describe,
    fit_gate,
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
    """A folder of pictures, named for the report; of a population, empty for unknown."""

    name: str
    path: Path
    population: str = ""


@dataclass(frozen=True)
class ExternalImages:
    """Pictures from other sources.

    Attributes:
        frontal: Frontal radiographs of patients like the model's, from elsewhere; fitted on.
        others: Frontal radiographs of other patients; fitted on.
        laterals: Radiographs of the chest from the side; fitted on.
        in_scope: Frontal radiographs that are only measured.
        out_of_scope: Pictures of anything else, only measured.
    """

    frontal: tuple[NamedFolder, ...] = ()
    others: tuple[NamedFolder, ...] = ()
    laterals: tuple[NamedFolder, ...] = ()
    in_scope: tuple[NamedFolder, ...] = ()
    out_of_scope: tuple[NamedFolder, ...] = ()


@dataclass(frozen=True)
class FittedLimits:
    """What is written into a run."""

    gate: ScopeGate
    scope: ScopeSection
    referral: Referral
    populations: tuple[Population, ...]


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
    points: Sequence[OperatingPoint],
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
    specs = specs_present(recipe, parts["train"])
    names = tuple(one.name for one in specs)

    stated = [_place_of(folder, names) for folder in other.frontal]  # before the long work

    def read(folders: Sequence[NamedFolder], *, frontal: bool) -> list[PictureSet]:
        return [
            read_pictures(f.name, f.path, spec, answers.embed, frontal=frontal) for f in folders
        ]

    fitted = FittedOn(
        read(other.frontal, frontal=True),
        read(other.others, frontal=True),
        read(other.laterals, frontal=False),
    )
    empty = parts["val"].pixels[:0]
    data = GateData(
        train=parts["train"].pixels,
        train_places=_places(parts["train"], names),
        val=parts["val"].pixels,
        val_places=_places(parts["val"], names),
        frontal=np.concatenate([empty, *(f.pixels for f in fitted.frontal)]),
        frontal_places=np.array(
            [place for place, f in zip(stated, fitted.frontal, strict=True) for _ in f.pixels],
            np.int64,
        ),
        others=np.concatenate([empty, *(f.pixels for f in fitted.others)]),
        laterals=np.concatenate([empty, *(f.pixels for f in fitted.laterals)]),
        augmentation=recipe.augmentation,
        seed=recipe.seed,
    )
    answered = {part: answers(parts[part].pixels) for part in MEASURED if len(parts[part])}
    described = describe(data, answers.embed, answered["val"].embeddings)
    gate, thresholds = fit_gate(described, data.seed)
    sources = parts["test"].pixels if len(parts["test"]) else parts["val"].pixels
    made = [_made(family, sources, answers) for family in FAMILIES]
    pictures = [
        *(
            radiographs
            for part, given in answered.items()
            for radiographs in _radiographs(part, parts[part], given, names)
        ),
        *read(other.in_scope, frontal=True),
        *read(other.out_of_scope, frontal=False),
        *made,
    ]
    figures = [measure_scope(p, judge_all(p, gate, thresholds), names) for p in pictures]
    if external is not None:
        figures += cross_fitted(fitted, data, described, names)
        figures += [never_shown(p, described, data.seed, names) for p in made]
    referral = _referral(answered, parts, recipe.coverage, points, task)
    measured: Part = "test" if len(parts["test"]) else "val"
    return FittedLimits(
        gate=gate,
        scope=ScopeSection(thresholds=thresholds, figures=tuple(figures)),
        referral=referral,
        populations=measure_populations(
            specs,
            measured,
            parts[measured],
            answered[measured].probabilities,
            referral,
            points,
            task,
        ),
    )


def _places(samples: Samples, names: Sequence[str]) -> NDArray[np.int64]:
    return np.array([names.index(str(one)) for one in samples.populations], dtype=np.int64)


def _radiographs(
    part: str, samples: Samples, given: NetworkOutputs, names: Sequence[str]
) -> Iterator[PictureSet]:
    for name in names:
        chosen = samples.populations == name
        groups = [str(patient) for patient in samples.patients[chosen]]
        if groups:
            pixels, vectors = samples.pixels[chosen], given.embeddings[chosen]
            yield picture_set(f"{name}, {part}", pixels, vectors, frontal=True, groups=groups)


def _made(family: str, sources: Pixels, answers: Answers) -> PictureSet:
    pixels = make_outliers(family, sources, MADE_OF_EACH, OUTLIER_SEED)
    return picture_set(family, pixels, answers.embed(pixels), frontal=False)


def _referral(
    answered: dict[Part, NetworkOutputs],
    parts: dict[Part, Samples],
    coverage: float,
    points: Sequence[OperatingPoint],
    task: Task,
) -> Referral:
    measured = None
    if len(parts["test"]):
        measured = Judged.of(parts["test"], answered["test"].probabilities)
    val = Judged.of(parts["val"], answered["val"].probabilities)
    default = next(point for point in points if point.name == BALANCED)
    return fit_referral(val, measured, coverage, default, task)


def refit_limits(
    run_path: Path,
    data: DataSets,
    external: ExternalImages,
    compute: Compute,
    quiet: bool = False,
) -> Run:
    """Fit and measure a run's limits again and replace the run atomically, but for its weights.

    RunError for a damaged run, DataError for an unusable data set or folder.
    """
    run = open_run(run_path)
    for one in fields(external):
        for folder in getattr(external, one.name):
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
    samples = replace(samples, populations=populations_of(samples, recipe))
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    served = served_network(run_path / WEIGHTS_NAME, run)
    found = find_limits(
        served, recipe, task, run.operating_points, parts, run.preprocessing, compute, external
    )
    with new_directory(run_path, RUN_NAME) as directory:
        shutil.copytree(run_path, directory, dirs_exist_ok=True)
        found.gate.save(directory / SCOPE_NAME)
        changes = {
            "scope": found.scope,
            "referral": found.referral,
            "populations": found.populations,
            "scope_sha256": sha256_of_file(directory / SCOPE_NAME),
        }
        changed = run.model_copy(update=changes)
        (directory / RUN_NAME).write_text(changed.model_dump_json(indent=2) + "\n")
    return changed


def _place_of(folder: NamedFolder, names: Sequence[str]) -> int:
    if not folder.population:
        return UNKNOWN
    if folder.population not in names:
        raise DataError(
            f"The run has no population {folder.population!r}; it has {', '.join(names)}."
        )
    return names.index(folder.population)


def named_folder(text: str) -> NamedFolder:
    """Parse ``NAME=DIR``, or raise RunError."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise RunError(f"{text!r} is not NAME=DIR: a name for the report and a folder.")
    return NamedFolder(name, Path(path))


def patients_folder(text: str) -> NamedFolder:
    """Parse ``[POPULATION:]NAME=DIR``, or raise RunError."""
    folder = named_folder(text)
    population, colon, name = folder.name.partition(":")
    return NamedFolder(name, folder.path, population) if colon else folder


def format_limits(run: Run) -> str:
    """Return the figures as tables."""
    lines = [f"{'scope':34}{'images':>8}  {'flagged':24}{'refused':>9}  belongs to"]
    for figure in run.scope.figures:
        kind = "in " if figure.frontal else "out"
        flagged = format_estimate("flagged", figure.flagged)
        lines.append(
            f"{kind} {figure.name:30}{figure.images:>8}  {flagged:24}"
            f"{figure.refused:>9.3f}  "
            + ", ".join(f"{name} {share:.3f}" for name, share in figure.belongs.items())
        )
    lines += ["", f"{'population':34}{'images':>8}  {'AUROC':24}{'ECE':24}validated"]
    for known in run.populations:
        auroc, ece = format_estimate("auroc", known.auroc), format_estimate("ece", known.ece)
        lines.append(
            f"{known.name:34}{known.images:>8}  {auroc:24}{ece:24}"
            + ("yes" if known.validated else "no")
        )
    lines += ["", f"{'coverage asked':>14}  {'reached':24}{'referred':24}accuracy of the rest"]
    for one in run.referral.figures:
        cells = (one.coverage, one.referred, one.accuracy)
        lines.append(
            f"{one.target:>14.2f}  " + "".join(f"{format_estimate('', c):24}" for c in cells)
        )
    return "\n".join(line.rstrip() for line in lines)
