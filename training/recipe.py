"""A recipe: everything about a training but its data, in one small TOML file."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from cxr.errors import DataError, RunError
from cxr.section import Section, first_complaint
from cxr.verdict.populations import Ages, PopulationName, Who

RECIPES_DIR = Path(__file__).parent / "recipes"

RecipeT = TypeVar("RecipeT", bound=BaseModel)


class Augmentation(Section):
    """Ranges of random change; see :class:`training.fit.augment.Augmenter`.

    ``scale``, ``aspect``, ``gamma`` and ``contrast`` are factors: 1.2 means 1/1.2 to 1.2.
    """

    rotate_deg: float = Field(0.0, ge=0, le=45, description="Rotation either way, degrees.")
    scale: float = Field(1.0, ge=1, le=2, description="Zoom.")
    aspect: float = Field(1.0, ge=1, le=2, description="Width against height.")
    shift: float = Field(0.0, ge=0, le=0.5, description="Translation, share of the side.")
    mirror_p: float = Field(0.0, ge=0, le=1, description="Chance of left for right.")
    sharpness: float = Field(0.0, ge=0, le=2, description="Blur (-) to sharpen (+).")
    gamma: float = Field(1.0, ge=1, le=3, description="Exponent of the grey levels.")
    contrast: float = Field(1.0, ge=1, le=3, description="Gain about the mean.")
    brightness: float = Field(0.0, ge=0, le=0.5, description="Offset, share of the range.")
    noise: float = Field(0.0, ge=0, le=0.3, description="Largest deviation of grain.")
    border: float = Field(0.0, ge=0, le=0.3, description="Deepest black border, share of side.")
    border_p: float = Field(0.0, ge=0, le=1, description="Chance of borders.")
    cutout: float = Field(0.1, ge=0.05, le=0.8, description="Largest cut-out, share of side.")
    cutout_p: float = Field(0.0, ge=0, le=1, description="Chance of a cut-out.")
    marks_p: float = Field(0.0, ge=0, le=1, description="Chance of painted letters and bars.")


class SplitSpec(Section):
    """The parts of the data; see :mod:`training.data.split_kinds`."""

    kind: Literal["patient", "official", "patient_80_10_10"] = "patient"
    val: float = Field(0.1, gt=0, lt=0.5, description="Share of the patients.")
    test: float = Field(0.1, ge=0, lt=0.5, description="Share of the patients.")
    folds: int = Field(0, ge=0, description="Of a cross-validation; 0 for none.")
    fold: int = Field(0, ge=0, description="Which of the folds is tested, from 0.")

    @model_validator(mode="after")
    def _verify_folds(self) -> SplitSpec:
        if self.folds == 1 or self.fold >= max(self.folds, 1):
            raise ValueError(f"fold {self.fold} of {self.folds} does not exist")
        if self.folds and self.kind == "official":
            raise ValueError("the official split has no folds: its test folder is the test")
        return self


class DummyClass(Section):
    """A class for ambiguous training images; see :mod:`training.fit.dummy_class`."""

    share: float = Field(0.1, gt=0, lt=0.5, description="Of the training images.")


class PopulationSpec(Section):
    """Patients the model is meant for; see :class:`cxr.verdict.populations.Population`."""

    name: PopulationName
    who: Who
    source: str = Field(min_length=1)
    ages_years: Ages | None = None
    sources: tuple[str, ...] = Field(
        ("*",),
        min_length=1,
        description="Patterns of the sources whose images are of these patients.",
    )


ANYBODY = PopulationSpec(
    name="trained-on", who="patients like those of the training data", source="not stated"
)


class LungGuidance(Section):
    """How the lungs are made to be what counts; see :mod:`training.fit.guide`."""

    outside_p: float = Field(0.35, ge=0, le=1, description="Chance that all else is replaced.")
    blank_p: float = Field(0.2, ge=0, le=1, description="Chance that the lungs are blanked.")
    penalty: float = Field(1.0, ge=0, description="Weight of the share of evidence outside.")

    @model_validator(mode="after")
    def _fits(self) -> LungGuidance:
        if self.outside_p + self.blank_p > 1:
            raise ValueError("outside_p and blank_p together exceed 1")
        return self


class Phase(Section):
    """Part of a training with one learning rate schedule."""

    name: str
    stages: tuple[str, ...] = Field((), description="Parts that learn, or 'all'.")
    last_layers: int | None = Field(
        None, ge=1, description="Instead of stages: how many layers learn, from the output."
    )
    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0, description="Peak; a cosine leads to 0 after warm-up.")
    size_px: int | None = Field(None, ge=16, description="Train at this side; default size_px.")
    warmup: float = Field(0.05, ge=0, lt=1, description="Share of the phase's steps.")

    @model_validator(mode="after")
    def _says_what_learns(self) -> Phase:
        if bool(self.stages) == (self.last_layers is not None):
            raise ValueError("give either stages or last_layers")
        return self


class PointTargets(Section):
    """Targets of the operating points on stressed validation images."""

    screening_sensitivity: float = Field(0.99, ge=0.98, le=1)
    rule_in_specificity: float = Field(0.99, ge=0.95, le=1)
    stress_views: int = Field(4, ge=0, description="Augmented copies of each validation image.")


class Recipe(Section):
    """The whole recipe."""

    name: str
    version: str
    task: str
    architecture: str
    init: str = Field("none", description="Default of --init: none, imagenet or a file.")
    seed: int = Field(0, ge=0)
    size_px: int = Field(224, ge=16)
    min_side_px: int = Field(64, ge=1)
    batch_size: int = Field(32, ge=2)
    weight_decay: float = Field(0.05, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    weight_average: float = Field(0.998, ge=0, lt=1, description="Decay of the weights' average.")
    class_weights: Literal["balanced", "none"] = "balanced"
    sampling: Literal["uniform", "populations"] = Field(
        "uniform", description="populations: each of them equally often, whatever their numbers."
    )
    teachers: float = Field(
        0.0, ge=0, le=1, description="Share of the teachers' answers in what is learnt."
    )
    mirror: bool = Field(False, description="Average over the mirror image when answering.")
    weights_dtype: Literal["float16", "float32"] = "float16"
    coverage: float = Field(
        0.98, gt=0.5, lt=1, description="Of the prediction sets that decide on abstaining."
    )
    notes: tuple[str, ...] = Field((), description="Why it is as it is; printed on the card.")
    populations: tuple[PopulationSpec, ...] = Field((ANYBODY,), min_length=1)
    lungs: LungGuidance | None = None
    dummy_class: DummyClass | None = None
    split: SplitSpec = SplitSpec()
    augmentation: Augmentation = Augmentation()
    operating_points: PointTargets = PointTargets()
    phases: tuple[Phase, ...] = Field(min_length=1)

    def population_of(self, source: str, stated: str) -> str:
        """Return the population of an image, by what its list states or by its source.

        Raises:
            DataError: It is none of the recipe's.
        """
        names = [one.name for one in self.populations]
        if stated:
            if stated not in names:
                raise DataError(
                    f"The population {stated!r} is none of the recipe {self.name}, which has "
                    f"{', '.join(names)}. Correct the CSV file's column population, or leave it "
                    "empty."
                )
            return stated
        found = [
            one.name
            for one in self.populations
            if any(fnmatchcase(source, pattern) for pattern in one.sources)
        ]
        if len(found) == 1:
            return found[0]
        belong = f"both to {' and '.join(found)}" if found else "to none"
        raise DataError(
            f"Images of the source {source!r} belong {belong} of the populations of the recipe "
            f"{self.name}, which are {', '.join(names)}. State it in the CSV file's column "
            "population, or name the source under [[populations]] in a copy of the recipe, once."
        )

    @model_validator(mode="after")
    def _has_distinct_populations(self) -> Recipe:
        if len({one.name for one in self.populations}) < len(self.populations):
            raise ValueError("two populations have the same name")
        return self

    def changed(self, **values: Any) -> Recipe:
        """Return the recipe with other values.

        Raises:
            RunError: They are not valid; the message names the field.
        """
        return _validated(self.model_dump() | values, self.name, Recipe)


def recipe_names() -> list[str]:
    """Return the names of the packaged recipes."""
    return sorted(path.stem for path in RECIPES_DIR.glob("*.toml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Load a packaged recipe by name, or any TOML file by path.

    Raises:
        RunError: It does not exist or is not valid; the message names the field.
    """
    return read_recipe(name_or_path, RECIPES_DIR, Recipe)


def read_recipe(name_or_path: str, directory: Path, kind: type[RecipeT]) -> RecipeT:
    """Read a recipe of any kind by name in ``directory`` or by the path of a TOML file.

    Raises:
        RunError: It does not exist or is not valid; the message names the field.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = directory / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in directory.glob("*.toml")))
        raise RunError(f"No recipe {name_or_path!r}: give a .toml file or one of {known}.")
    try:
        return _validated(tomllib.loads(path.read_text()), path.name, kind)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{path.name} is not valid TOML: {error}.") from None


def _validated(values: dict[str, Any], called: str, kind: type[RecipeT]) -> RecipeT:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise RunError(f"{called} is not valid at {first_complaint(error)}.") from None
