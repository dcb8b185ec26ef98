"""Whom a model was validated on, and whether a picture belongs to them.

Imports pydantic only, for clients that read answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from pydantic import Field

from cxr.metrics.estimate import Estimate
from cxr.section import Section
from cxr.verdict.reasons import UNFAMILIAR, Reason

LEAST_AUROC = 0.9
"""Of the lower end of the interval, for a population to count as validated (docs/decisions)."""

Unfamiliar: TypeAlias = Literal["refer", "warn", "refuse"]
"""What becomes of a picture outside every validated population."""


class PopulationPoint(Section):
    """Figures of a population at one operating point."""

    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    referred: Estimate = Field(description="Share for which the model abstains, in scope.")


class PopulationSource(Section):
    """Figures of the images of one source of a population."""

    name: str
    images: int
    auroc: Estimate
    sensitivity: Estimate = Field(description="At the default operating point, as the next.")
    specificity: Estimate


class Population(Section):
    """Patients a model was trained on, and what it is worth for those never trained on."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    who: str = Field(description="Plural, as in 'children aged 1 to 5'.")
    source: str = Field(description="Where the images come from, with their licence.")
    ages_years: tuple[float, float] | None = Field(
        None, description="Youngest and oldest; a DICOM object's age outside contradicts."
    )
    part: str = Field(description="Part of the split the figures are of.")
    images: int
    patients: int
    auroc: Estimate
    ece: Estimate
    operating_points: dict[str, PopulationPoint]
    sources: tuple[PopulationSource, ...] = ()

    @property
    def validated(self) -> bool:
        """Whether the model may decide for these patients."""
        return self.auroc.low is not None and self.auroc.low >= LEAST_AUROC

    def has_age(self, age_years: float | None) -> bool:
        """Return whether an age may be one of theirs; an unknown one may.

        A five-year-old has not had the sixth birthday, so the upper end is inclusive.
        """
        if age_years is None or self.ages_years is None:
            return True
        youngest, oldest = self.ages_years
        return youngest <= age_years < oldest + 1


class Membership(NamedTuple):
    """The population a picture is taken to belong to, and why the model may not decide for it."""

    population: Population | None
    reason: Reason | None


def familiarity(
    populations: Sequence[Population], place: int | None, age_years: float | None
) -> Membership:
    """Judge a picture by the population it looks like, by its place, and by the patient's age.

    They must agree: an age outside makes it belong to none.
    """
    looks = None if place is None else populations[place]
    known = " or ".join(one.who for one in populations if one.validated) or "nobody"
    if looks is not None and not looks.has_age(age_years):
        text = f"The picture looks like one of {looks.who}, but the patient's age is another."
        if not any(one.has_age(age_years) for one in populations if one.validated):
            text = "The patient's age is outside those the model was validated on."
        return Membership(None, Reason(UNFAMILIAR, f"{text} It was validated on {known}."))
    if looks is None:
        text = f"The picture does not look like those the model was validated on, of {known}."
        return Membership(None, Reason(UNFAMILIAR, text))
    if not looks.validated:
        text = f"The model was not validated on {looks.who}, only on {known}."
        return Membership(looks, Reason(UNFAMILIAR, text))
    return Membership(looks, None)
