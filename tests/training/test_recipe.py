"""Recipes are small TOML files that are checked field by field."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cxr.data.labels import task_named
from cxr.errors import RunError
from cxr.networks import build_network
from training.fit.phases import let_learn
from training.recipe import Phase, Recipe, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_is_valid(name: str) -> None:
    """Its task, its architecture and the stages of its phases exist."""
    recipe = load_recipe(name)
    assert recipe.name == name
    network = build_network(recipe.architecture, len(task_named(recipe.task).classes))
    for phase in recipe.phases:
        let_learn(network, phase)


def test_resnet18_of_children_starts_with_a_head_on_a_frozen_backbone() -> None:
    """The recipe has a head phase and then fine-tunes at a lower rate."""
    head, *rest = load_recipe("resnet18-children").phases
    assert head.stages == ("fc",)
    assert all(phase.learning_rate < head.learning_rate for phase in rest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name = ", "not valid TOML"),
        ("name = 'x'", "not valid at version"),
        ("surprise = 1", "not valid at"),
    ],
)
def test_invalid_recipe_names_the_field(content: str, message: str, tmp_path: Path) -> None:
    """A recipe of one's own that is wrong says where."""
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(RunError, match=message):
        load_recipe(str(path))


def test_unknown_recipe_lists_the_known_ones() -> None:
    """A typing error is answered with the choice."""
    with pytest.raises(RunError, match=r"one of adults, cnn_bn, .*resnet18, .*smoke"):
        load_recipe("resnet19")


def test_rule_in_and_screening_floors_hold() -> None:
    """No recipe may promise less than the documented sensitivity and specificity."""
    targets = load_recipe("smoke").operating_points
    assert targets.screening_sensitivity >= 0.98
    assert targets.rule_in_specificity >= 0.95


@pytest.mark.parametrize("what", ["", 'stages = ["all"]\nlast_layers = 3'], ids=["none", "both"])
def test_phase_says_what_learns_in_one_way(what: str, tmp_path: Path) -> None:
    """Stages or a number of layers: neither is not enough, and both are too much."""
    path = tmp_path / "mine.toml"
    path.write_text(f"[[phases]]\nname = 'x'\nepochs = 1\nlearning_rate = 1e-3\n{what}")
    with pytest.raises(ValidationError, match="give either stages or last_layers"):
        Recipe.model_validate(tomllib.loads(path.read_text()))


def test_last_layers_are_counted_from_the_output() -> None:
    """Linear layers, batch norms and convolutions count one each; dropout counts none."""
    network = build_network("cnn_bn", 2)
    let_learn(network, make_phase(last_layers=4))
    learning = {
        name.rpartition(".")[0] for name, p in network.named_parameters() if p.requires_grad
    }
    assert learning == {"fc2", "fc1", "block4.1", "block4.0"}
    assert network.dropout.training
    assert network.block4[1].training
    assert not network.block3[1].training


def test_more_layers_than_there_are_names_the_phase() -> None:
    """A count that the network cannot have is an error of the recipe."""
    with pytest.raises(RunError, match="Phase 'last' of the recipe: no 11 layers"):
        let_learn(build_network("cnn_bn", 2), make_phase(last_layers=11))


def make_phase(**changes: Any) -> Phase:
    return Phase(name="last", epochs=1, learning_rate=1e-3, **changes)
