"""Whom a model was validated on, and whether a picture belongs to them.

Imports pydantic only, for clients that read answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, Field

from cxr.metrics.estimate import Estimate
from cxr.section import Section
from cxr.verdict.reasons import UNFAMILIAR, Reason

LEAST_AUROC = 0.9
"""Of the lower end of the interval, for a population to count as validated (docs/decisions)."""

OLDEST_YEARS = 130
MAX_WHO_CHARS = 100  # it stands in sentences

Unfamiliar: TypeAlias = Literal["refer", "warn", "refuse"]
"""What becomes of a picture outside every validated population."""


def _verify_ages(ages: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= ages[0] <= ages[1] <= OLDEST_YEARS:
        raise ValueError(
            f"ages are two numbers of years, 0 <= youngest <= oldest <= {OLDEST_YEARS}"
        )
    return ages


def _verify_share(figure: Estimate) -> Estimate:
    """Check what decides who is decided for: digests guard it, but not who wrote them."""
    ends = (figure.low, figure.high)
    if None in (figure.value, *ends) and ends != (None, None):
        raise ValueError("an interval needs a figure and both its ends")
    if any(part is not None and not 0 <= part <= 1 for part in (figure.value, *ends)):
        raise ValueError("a share lies between 0 and 1")
    if figure.low is not None and figure.high is not None and figure.low > figure.high:
        raise ValueError("an interval begins at its lower end")
    return figure


Share: TypeAlias = Annotated[Estimate, AfterValidator(_verify_share)]
PopulationName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Ages: TypeAlias = Annotated[tuple[float, float], AfterValidator(_verify_ages)]
Who: TypeAlias = Annotated[str, Field(pattern=r"^\S[^\r\n]*$", max_length=MAX_WHO_CHARS)]


class PopulationPoint(Section):
    """Figures of a population at one operating point."""

    accuracy: Share
    sensitivity: Share
    specificity: Share
    referred: Share = Field(description="Share for which the model abstains, in scope.")


class PopulationSource(Section):
    """Figures of the images of one source of a population."""

    name: str
    images: int = Field(ge=1)
    auroc: Share
    sensitivity: Share = Field(description="At the default operating point, as the next.")
    specificity: Share


class Population(Section):
    """Patients a model was trained on, and what it is worth for those never trained on."""

    name: PopulationName
    who: Who = Field(description="Plural, as in 'children aged 1 to 5'.")
    source: str = Field(description="Where the images come from, with their licence.")
    ages_years: Ages | None = Field(
        None, description="Youngest and oldest; a DICOM object's age outside contradicts."
    )
    part: str = Field(
        pattern=r"^(internal-)?(val|test)$", description="Part of the split the figures are of."
    )
    images: int = Field(ge=1)
    patients: int = Field(ge=1)
    auroc: Share
    ece: Share
    operating_points: dict[str, PopulationPoint]
    sources: tuple[PopulationSource, ...] = ()

    @property
    def validated(self) -> bool:
        """Whether the model may decide for these patients."""
        return self.auroc.low is not None and self.auroc.low >= LEAST_AUROC

    def has_ages(self, ages_years: Sequence[float]) -> bool:
        """Return whether all ages may be of theirs; with none it is unknown, and may.

        A five-year-old has not had the sixth birthday, so the upper end is inclusive.
        """
        if self.ages_years is None:
            return True
        youngest, oldest = self.ages_years
        return all(youngest <= age < oldest + 1 for age in ages_years)


class Membership(NamedTuple):
    """The population a picture is taken to belong to, and why the model may not decide for it."""

    population: Population | None
    reason: Reason | None


def familiarity(
    populations: Sequence[Population], place: int | None, ages_years: Sequence[float]
) -> Membership:
    """Judge a picture by the population it looks like, by its place, and by the patient's ages.

    They must agree: one age outside makes it belong to none.
    """
    looks = None if place is None else populations[place]
    known = " or ".join(one.who for one in populations if one.validated) or "nobody"
    if looks is not None and not looks.has_ages(ages_years):
        text = (
            f"The picture looks like one of {looks.who}, but the patient's age is another. The "
            f"model was validated on {known}."
        )
        if not any(one.has_ages(ages_years) for one in populations if one.validated):
            text = f"The patient's age is outside those the model was validated on: {known}."
        return Membership(None, Reason(UNFAMILIAR, text))
    if looks is None:
        text = f"The picture does not look like those the model was validated on, of {known}."
        return Membership(None, Reason(UNFAMILIAR, text))
    if not looks.validated:
        text = f"The model was not validated on {looks.who}, only on {known}."
        return Membership(looks, Reason(UNFAMILIAR, text))
    return Membership(looks, None)
