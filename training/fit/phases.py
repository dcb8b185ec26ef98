"""Phases of a recipe: their epochs, and what each trains."""

from __future__ import annotations

from dataclasses import dataclass

from cxr.errors import RunError
from cxr.networks.network import Network
from training.recipe import Phase, Recipe


def let_learn(network: Network, phase: Phase) -> None:
    """Make a phase's part of a network trainable and freeze the rest.

    Raises:
        RunError: The network has no such stage, or fewer layers.
    """
    try:
        if phase.last_layers is None:
            network.train_only(phase.stages)
        else:
            network.train_last(phase.last_layers)
    except ValueError as error:
        raise RunError(f"Phase {phase.name!r} of the recipe: {error}.") from None


@dataclass(frozen=True)
class PlannedEpoch:
    """One epoch of the whole training."""

    phase: Phase
    epoch: int
    index: int


def plan_epochs(recipe: Recipe) -> list[PlannedEpoch]:
    """List all epochs of a recipe in order."""
    pairs = [(phase, epoch) for phase in recipe.phases for epoch in range(phase.epochs)]
    return [PlannedEpoch(phase, epoch, index) for index, (phase, epoch) in enumerate(pairs)]
