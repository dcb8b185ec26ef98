"""The epochs of a recipe in order."""

from __future__ import annotations

from dataclasses import dataclass

from training.recipe import Phase, Recipe


@dataclass(frozen=True)
class Plan:
    """One epoch of the whole training.

    Attributes:
        phase: The phase it belongs to.
        epoch: Number within the phase, from 0.
        index: Number within the training, from 0.
    """

    phase: Phase
    epoch: int
    index: int


def plan_epochs(recipe: Recipe) -> list[Plan]:
    """List all epochs of a recipe in order."""
    pairs = [(phase, epoch) for phase in recipe.phases for epoch in range(phase.epochs)]
    return [Plan(phase, epoch, index) for index, (phase, epoch) in enumerate(pairs)]
