"""Which part of a network a phase trains."""

from __future__ import annotations

from cxr.errors import RunError
from cxr.networks.network import Network
from training.recipe import Phase


def let_learn(network: Network, phase: Phase) -> None:
    """Let a phase's part of a network learn, and freeze the rest.

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
