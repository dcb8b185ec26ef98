"""The search space: fields of a recipe with their ranges, in TOML."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from optuna import Trial
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from cxr.errors import RunError
from cxr.section import Section
from training.recipe import Recipe

Value: TypeAlias = bool | int | float | str

GIVEN = ("name", "version", "task", "size_px", "min_side_px", "split", "seed", "init")
"""Fields a search does not vary: the images are loaded and divided once."""

EVERY = "*"
"""In a field's path: each item of a list."""


class Range(Section):
    """Numbers from ``low`` to ``high``; integers if both are."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="Each order of magnitude alike.")
    points: int = Field(3, ge=2, description="How many a grid takes, both ends included.")

    @model_validator(mode="after")
    def _is_range(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low must be less than high, and more than 0 for log")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether only integers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Trial, field: str) -> Value:
        """Let the sampler choose."""
        if self.is_whole:
            return trial.suggest_int(field, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(field, self.low, self.high, log=self.log)

    def grid(self) -> list[Value]:
        """Return points at even distances, or even factors."""
        low, high = (math.log(end) if self.log else float(end) for end in (self.low, self.high))
        steps = [low + (high - low) * i / (self.points - 1) for i in range(self.points)]
        values = [math.exp(step) if self.log else step for step in steps]
        if self.is_whole:
            return sorted({round(value) for value in values})
        # Rounding must not leave the range.
        return [min(max(value, float(self.low)), float(self.high)) for value in values]


class Choices(Section):
    """A list of values."""

    choices: tuple[Value, ...] = Field(min_length=1)

    def suggest(self, trial: Trial, field: str) -> Value:
        """Let the sampler choose."""
        chosen = trial.suggest_categorical(field, self.choices)
        assert chosen is not None
        return chosen

    def grid(self) -> list[Value]:
        """Return all of them."""
        return list(self.choices)


Space: TypeAlias = Mapping[str, Range | Choices]
"""By field of the recipe: ``weight_decay``, ``augmentation.rotate_deg``,
``phases.NAME.learning_rate``, ``phases.*.epochs``."""

_SPACE: TypeAdapter[dict[str, Range | Choices]] = TypeAdapter(dict[str, Range | Choices])


def load_space(path: Path, recipe: Recipe) -> Space:
    """Read a search space; RunError if missing, invalid, or with unknown fields."""
    try:
        space = _SPACE.validate_python(tomllib.loads(path.read_text()))
    except OSError:
        raise RunError(f"No search space {path}: give a .toml file.") from None
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{path.name} is not valid TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(f"{path.name} is not valid at {first['loc'][0]}: {first['msg']}.") from None
    if not space:
        raise RunError(f"{path.name} names no field to vary.")
    if fixed := [field for field in space if field.split(".")[0] in GIVEN]:
        raise RunError(f"{path.name} varies {fixed[0]}, which a search cannot vary.")
    for one in (0, -1):  # the ends of every range make a recipe
        vary(recipe, {field: kind.grid()[one] for field, kind in space.items()})
    return space


def vary(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    """Return a recipe with other values; RunError if a field is unknown or a value invalid."""
    changed = recipe.model_dump(mode="json")
    for field, value in values.items():
        _set(changed, field.split("."), value, field)
    return recipe.changed(**changed)


def _set(place: Any, path: list[str], value: Value, field: str) -> None:
    head, *rest = path
    if isinstance(place, list):
        chosen = [item for item in place if head in (EVERY, item["name"])]
        if not chosen or not rest:
            raise RunError(f"The recipe has no {field!r}.")
        for item in chosen:
            _set(item, rest, value, field)
    elif not isinstance(place, dict) or head not in place:
        raise RunError(f"The recipe has no {field!r}.")
    elif rest:
        _set(place[head], rest, value, field)
    else:
        place[head] = value


def recipe_toml(recipe: Recipe) -> str:
    """Write a recipe as TOML."""
    lines, tables = [], []
    for name, value in recipe.model_dump(mode="json", exclude_none=True).items():
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *_pairs(value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for table in value:
                tables += ["", f"[[{name}]]", *_pairs(table)]
        else:
            lines += _pairs({name: value})
    return "\n".join([*lines, *tables]) + "\n"


def _pairs(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's.
    return json.dumps(value)
