"""Recipes are small TOML files that are checked field by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr.errors import RunError
from cxr.labels import task_named
from cxr.networks import build_network
from training.phases import let_learn
from training.recipe import load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_is_valid(name: str) -> None:
    """Its task, its architecture and the stages of its phases exist."""
    recipe = load_recipe(name)
    assert recipe.name == name
    network = build_network(recipe.architecture, len(task_named(recipe.task).classes))
    for phase in recipe.phases:
        let_learn(network, phase)


def test_resnet18_starts_with_a_head_on_a_frozen_backbone() -> None:
    """The recipe has a head phase and then fine-tunes at a lower rate."""
    head, *rest = load_recipe("resnet18").phases
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
    with pytest.raises(RunError, match=r".*resnet18, small_cnn, smoke"):
        load_recipe("resnet19")


def test_rule_in_and_screening_floors_hold() -> None:
    """No recipe may promise less than the documented sensitivity and specificity."""
    targets = load_recipe("smoke").operating_points
    assert targets.screening_sensitivity >= 0.98
    assert targets.rule_in_specificity >= 0.95
