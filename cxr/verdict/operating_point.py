"""Operating points and decisions; imports pydantic only, for clients."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from cxr.section import Section

Decision = TypeAliasType("Decision", Literal["positive", "negative", "refer"])


class OperatingPoint(BaseModel):
    """A named threshold on the finding's calibrated probability.

    ``sensitivity`` and ``specificity`` are those it had on the validation patients, on which
    it was chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    threshold: float = Field(ge=0.0, le=1.0)
    sensitivity: float = Field(ge=0.0, le=1.0)
    specificity: float = Field(ge=0.0, le=1.0)


class ReferBand(Section):
    """The range of the finding's probability in which the model abstains."""

    low: float
    high: float
