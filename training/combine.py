"""``python -m training ensemble``: a run directory made out of finished runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from cxr.dataset import DataSets
from cxr.digest import verify_replaceable
from cxr.errors import DataError, RunError
from cxr.labels import Task
from cxr.manifest import WEIGHTS_NAME, Normalisation, Provenance
from cxr.networks import AND, MIRRORED, WITH, build_network
from cxr.networks.ensemble import Ensemble
from cxr.networks.mirrored import Mirrored
from cxr.networks.network import Network
from cxr.networks.weights import load_weights
from cxr.preprocessing import Preprocessing
from cxr.run import RUN_NAME, EpochRecord, Run, open_run
from cxr.split import PARTS, SPLIT_NAME, SplitRow, list_divided, read_split_file
from training.device import Compute
from training.distributed import World
from training.finish import write_run
from training.job import TrainingJob
from training.provenance import code_revision
from training.recipe import Recipe
from training.samples import Samples, load_samples
from training.scoring import SCORING_BATCH
from training.split import samples_of

UNCHANGED = Normalisation(mean=0.0, std=1.0)
"""Of the images an ensemble takes: each member normalises by itself."""

SCALING_IMAGES = 512
"""Validation images that the embeddings' scales are taken from; they are one number each."""

DIGEST_DIGITS = 12


@dataclass(frozen=True)
class Member:
    """A finished run that becomes part of another."""

    path: Path
    run: Run
    rows: tuple[SplitRow, ...]

    @property
    def title(self) -> str:
        """What it is called in the run: name, version and the digest of its weights."""
        return f"{self.run.name} {self.run.version} ({self.run.weights_sha256[:DIGEST_DIGITS]})"

    def patients(self, part: str) -> set[str]:
        """Patients of a part."""
        return {row.patient for row in self.rows if row.part == part}


@dataclass(frozen=True)
class Combined:
    """A network made out of trained ones, as :class:`training.finish.Trained` asks for."""

    result: Network
    normalisation: Normalisation
    curves: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class EnsembleJob:
    """What to make.

    Attributes:
        runs: Run directories of the members.
        name: Of the new run.
        version: Of the new run.
        data: The data set they were trained on, or several.
        out: The run directory to make.
        compute: Device.
        quiet: Show no progress bars.
    """

    runs: tuple[Path, ...]
    name: str
    version: str
    data: DataSets
    out: Path
    compute: Compute
    quiet: bool = False


def combine_runs(job: EnsembleJob) -> Path:
    """Make an ensemble and finish it as any run: calibrated, limited and measured by itself.

    Raises:
        RunError: Fewer than two runs, one is missing or damaged, they do not go together, or
            ``out`` holds a run.
        OutputError: Something else stands at ``out``.
        DataError: The data set is not the one they were trained on.
    """
    if (job.out / RUN_NAME).exists():
        raise RunError(f"{job.out} holds a finished run. Give another --out, or delete it.")
    verify_replaceable(job.out, RUN_NAME)
    members = open_members(job.runs)
    recipe, network = _recipe(members, job), _assemble(members)
    task, rows = members[0].run.task.as_task(), members[0].rows
    spec = Preprocessing(size_px=recipe.size_px, min_side_px=recipe.min_side_px)
    _verify_size(network, spec)
    samples = samples_of_split(rows, job.data, spec, task, quiet=job.quiet)
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    _scale_embeddings(network, parts["val"], job.compute)
    provenance = Provenance(
        recipe=recipe.name,
        seed=recipe.seed,
        init=recipe.init,
        code_revision=code_revision(),
        data_digest=samples.data_digest(),
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        images={part: len(parts[part]) for part in PARTS},
        patients={part: len(set(parts[part].patients)) for part in PARTS},
    )
    curves = tuple(_curve(member.run, row) for member in members for row in member.run.curves)
    finishing = TrainingJob(recipe, job.data, job.out, recipe.init, job.compute, World())
    combined = Combined(network, UNCHANGED, curves)
    write_run(finishing, task, spec, combined, parts, list(rows), provenance)
    return job.out


def samples_of_split(
    rows: Sequence[SplitRow], data: DataSets, spec: Preprocessing, task: Task, *, quiet: bool
) -> Samples:
    """Load the images of a split.

    Raises:
        DataError: Some are not there.
    """
    wanted = {row.name for row in rows}
    images = [image for image in list_divided(data, task, wanted) if image.name in wanted]
    if len(images) < len(wanted):
        missing = len(wanted) - len(images)
        raise DataError(f"{missing} of {len(wanted)} images of the runs' split are not there.")
    return load_samples(images, spec, task, os.cpu_count() or 1, quiet)


def open_members(paths: Sequence[Path]) -> list[Member]:
    """Open runs that shall answer together.

    What the first one was validated and tested on, no other may have been trained on: the
    ensemble would be calibrated and measured on images it has learnt.

    Raises:
        RunError: Fewer than two, one is missing or damaged, or they do not go together.
    """
    if len(paths) < 2:
        raise RunError("An ensemble needs two runs or more.")
    members = [
        Member(path, open_run(path), tuple(read_split_file(path / SPLIT_NAME))) for path in paths
    ]
    first = members[0]
    for member in members:
        if AND in member.run.architecture:
            raise RunError(f"{member.path} is an ensemble itself. Give its members instead.")
    for other in members[1:]:
        _verify_pair(first, other)
    return members


def _verify_pair(first: Member, other: Member) -> None:
    both = f"{first.path} and {other.path}"
    if other.run.task != first.run.task:
        raise RunError(
            f"{both} answer different questions: {_question(first.run)} and {_question(other.run)}."
        )
    sizes = first.run.preprocessing.size_px, other.run.preprocessing.size_px
    if sizes[0] != sizes[1]:
        raise RunError(f"{both} take images of different sides: {sizes[0]} and {sizes[1]} pixels.")
    for part in ("val", "test"):
        learnt = first.patients(part) & other.patients("train")
        learnt |= other.patients(part) & first.patients("train")
        if learnt:
            raise RunError(
                f"{both} do not have the same split: {len(learnt)} patients of one's {part} part "
                f"are in the other's train part, {min(learnt)} for one. Train one anew with the "
                f"other's split: python -m training train --split-file {first.path}/{SPLIT_NAME}."
            )
        apart = first.patients(part) ^ other.patients(part)
        if apart:
            raise RunError(
                f"{both} do not have the same split: {len(apart)} patients are in the {part} part "
                f"of only one of them, {min(apart)} for one."
            )


def _question(run: Run) -> str:
    return f"{run.task.name} ({', '.join(run.task.classes)})"


def _mirrors_inside(members: Sequence[Member]) -> list[bool]:
    """Tell which members average over the mirror image by themselves: those of some who do."""
    mirrors = [member.run.calibration.mirror for member in members]
    return [False] * len(members) if all(mirrors) else mirrors


def _assemble(members: Sequence[Member]) -> Ensemble:
    networks: list[Network] = []
    for member, mirrors in zip(members, _mirrors_inside(members), strict=True):
        network = build_network(member.run.architecture, len(member.run.task.classes))
        load_weights(network, member.path / WEIGHTS_NAME)
        networks.append(Mirrored(network) if mirrors else network)
    ensemble = Ensemble(networks)
    ensemble.adopt(
        [member.run.normalisation for member in members],
        [member.run.calibration for member in members],
    )
    return ensemble


def _recipe(members: Sequence[Member], job: EnsembleJob) -> Recipe:
    """Give the first member's recipe, changed to how the ensemble is finished.

    Its phases stay, as those of the member: an ensemble is not trained.
    """
    recipes = [Recipe.model_validate(member.run.recipe) for member in members]
    names = [
        f"{member.run.architecture}{WITH}{MIRRORED}" if mirrors else member.run.architecture
        for member, mirrors in zip(members, _mirrors_inside(members), strict=True)
    ]
    exact = any(recipe.weights_dtype == "float32" for recipe in recipes)
    titles = [member.title for member in members]
    return recipes[0].changed(
        name=job.name,
        version=job.version,
        architecture=AND.join(names),
        init=" and ".join(titles),
        min_side_px=max(recipe.min_side_px for recipe in recipes),
        class_weights="none",  # the members' probabilities are those of the data already
        dummy_class=None,
        mirror=all(member.run.calibration.mirror for member in members),
        weights_dtype="float32" if exact else "float16",
        notes=(
            f"The mean of the calibrated logits of {len(members)} networks trained apart: "
            f"{', '.join(titles)}. See docs/decisions/0021.",
        ),
    )


def _verify_size(network: Network, spec: Preprocessing) -> None:
    try:
        with torch.inference_mode():
            network.eval().features(torch.zeros(1, 1, spec.size_px, spec.size_px))
    except ValueError as error:
        raise RunError(f"These runs cannot be explained together: {error}.") from None


@torch.inference_mode()
def _scale_embeddings(network: Ensemble, val: Samples, compute: Compute) -> None:
    compute.place(network).eval()
    every = max(1, len(val) // SCALING_IMAGES)
    pixels = torch.from_numpy(val.pixels[::every]).float().div_(255.0)
    network.adopt_scales(
        torch.cat(
            [
                network.embed(network.features(compute.put(batch)))
                for batch in torch.split(pixels, SCORING_BATCH)
            ]
        )
    )


def _curve(run: Run, row: EpochRecord) -> EpochRecord:
    return row.model_copy(update={"phase": f"{run.name}: {row.phase}"})
