"""Populations of models made for tests."""

from __future__ import annotations

from typing import Any

from cxr.metrics.estimate import Estimate
from cxr.verdict.populations import Population, PopulationPoint, PopulationSource

GOOD = Estimate(value=0.97, low=0.95, high=0.99)
POOR = Estimate(value=0.84, low=0.8, high=0.88)


def make_population(name: str, who: str, ages: tuple[float, float] | None = None) -> Population:
    """Make a validated population."""
    point = PopulationPoint(accuracy=GOOD, sensitivity=GOOD, specificity=GOOD, referred=POOR)
    source = PopulationSource(
        name=f"{name}-hospital", images=300, auroc=GOOD, sensitivity=GOOD, specificity=GOOD
    )
    return Population(
        name=name,
        who=who,
        source=f"The {name} of one hospital, CC BY 4.0",
        ages_years=ages,
        part="test",
        images=300,
        patients=200,
        auroc=GOOD,
        ece=Estimate(value=0.02, low=0.01, high=0.03),
        operating_points={"balanced": point, "rule-out": point},
        sources=(source,),
    )


CHILDREN = make_population("children", "children aged 1 to 5", (1.0, 5.0))
ADULTS = make_population("adults", "adults", (16.0, 120.0))
UNPROVEN = ADULTS.model_copy(update={"auroc": POOR})
"""The same adults, whom the model is not good enough for."""


def as_sections(*populations: Population) -> list[dict[str, Any]]:
    """Return populations as members of a manifest."""
    return [one.model_dump(mode="json") for one in populations]
