"""``python -m training ensemble``: one run of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from cxr.bundles.manifest import WEIGHTS_NAME, Normalisation
from cxr.bundles.run import RUN_NAME, EpochRecord, Run
from cxr.data.split import SPLIT_NAME
from cxr.errors import RunError
from cxr.networks import AND, MIRRORED, WITH, build_network
from cxr.networks.ensemble import Ensemble, Mirrored
from cxr.networks.network import Network
from cxr.networks.weights import load_weights
from training.data.samples import Samples
from training.device import Compute
from training.fit.scoring import SCORING_BATCH
from training.recipe import Recipe
from training.runs.derive import (
    Derived,
    DerivingJob,
    Member,
    derived_recipe,
    finish_derived,
    load_divided,
    open_member,
)
from training.runs.job import verify_new

UNCHANGED = Normalisation(mean=0.0, std=1.0)
"""Of the images an ensemble takes: each member normalises by itself."""

SCALING_IMAGES = 512
"""Validation images that the embeddings' scales are taken from; they are one number each."""


def combine_runs(paths: Sequence[Path], job: DerivingJob) -> Path:
    """Make an ensemble and finish it as any run.

    Raises:
        RunError: Fewer than two runs, damaged or incompatible ones, or ``out`` holds a run.
        OutputError: Something else stands at ``out``.
        DataError: It is not the data they were trained on.
    """
    verify_new(job.out, RUN_NAME)
    members = _open_members(paths)
    recipe, network = _recipe(members, job), _assemble(members)
    _verify_size(network, recipe.size_px)
    divided = load_divided(members[0], recipe, job)
    _scale_embeddings(network, divided.parts["val"], job.compute)
    curves = tuple(_curve(member.run, row) for member in members for row in member.run.curves)
    return finish_derived(job, recipe, Derived(network, UNCHANGED, curves), divided)


def _open_members(paths: Sequence[Path]) -> list[Member]:
    """No other run may have been trained on what the first was validated and tested on.

    The ensemble would be calibrated and measured on images it learnt.
    """
    if len(paths) < 2:
        raise RunError("An ensemble needs at least two runs.")
    members = [open_member(path) for path in paths]
    first = members[0]
    for member in members:
        if AND in member.run.architecture:
            raise RunError(f"{member.path} is an ensemble itself. Pass its members instead.")
    for other in members[1:]:
        _verify_pair(first, other)
    return members


def _verify_pair(first: Member, other: Member) -> None:
    both = f"{first.path} and {other.path}"
    if other.run.task != first.run.task:
        raise RunError(
            f"{both} have different tasks: {_question(first.run)} and {_question(other.run)}."
        )
    sizes = first.run.preprocessing.size_px, other.run.preprocessing.size_px
    if sizes[0] != sizes[1]:
        raise RunError(f"{both} take images of different sizes: {sizes[0]} and {sizes[1]} pixels.")
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


def _recipe(members: Sequence[Member], job: DerivingJob) -> Recipe:
    recipes = [Recipe.model_validate(member.run.recipe) for member in members]
    names = [
        f"{member.run.architecture}{WITH}{MIRRORED}" if mirrors else member.run.architecture
        for member, mirrors in zip(members, _mirrors_inside(members), strict=True)
    ]
    exact = any(recipe.weights_dtype == "float32" for recipe in recipes)
    titles = [member.title for member in members]
    return derived_recipe(
        members[0],
        job,
        architecture=AND.join(names),
        init=" and ".join(titles),
        min_side_px=max(recipe.min_side_px for recipe in recipes),
        mirror=all(member.run.calibration.mirror for member in members),
        weights_dtype="float32" if exact else "float16",
        notes=(
            f"The mean of the calibrated logits of {len(members)} networks trained apart: "
            f"{', '.join(titles)}. See docs/decisions/0021.",
        ),
    )


def _verify_size(network: Network, size_px: int) -> None:
    try:
        with torch.inference_mode():
            network.eval().features(torch.zeros(1, 1, size_px, size_px))
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
