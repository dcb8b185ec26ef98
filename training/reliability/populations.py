"""Measure a run on each of its populations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.data.labels import Task
from cxr.data.split import INTERNAL_PREFIX, Part
from cxr.metrics.classes import measure_task
from cxr.metrics.estimate import Metrics
from cxr.verdict.decision import Referral
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.populations import Population, PopulationPoint, PopulationSource
from training.data.samples import Samples
from training.recipe import PopulationSpec, Recipe
from training.reliability.referral_fit import Judged, abstentions
from training.report.bootstrap import estimate_mean


def specs_present(recipe: Recipe, samples: Samples) -> tuple[PopulationSpec, ...]:
    """Return the recipe's populations that have images, in its order."""
    present = set(samples.populations)
    return tuple(one for one in recipe.populations if one.name in present)


def measure_populations(
    specs: Sequence[PopulationSpec],
    part: Part,
    samples: Samples,
    probabilities: NDArray[np.float64],
    referral: Referral,
    points: Sequence[OperatingPoint],
    task: Task,
) -> tuple[Population, ...]:
    """Measure each population, and each of its sources.

    ``probabilities``: Of the samples, (N, K), calibrated.
    """
    thresholds = {point.name: point.threshold for point in points}

    def measured(chosen: NDArray[np.bool_]) -> dict[str, Metrics]:
        return measure_task(
            samples.labels[chosen],
            probabilities[chosen],
            task,
            thresholds,
            [str(patient) for patient in samples.patients[chosen]],
        )

    def describe(spec: PopulationSpec) -> Population:
        chosen = samples.populations == spec.name
        figures, first = measured(chosen), points[0].name
        judged = Judged.of(samples.take(np.flatnonzero(chosen)), probabilities[chosen])
        by_source = {
            source: measured(chosen & (samples.sources == source))[first]
            for source in sorted(set(map(str, samples.sources[chosen])))
        }
        return Population(
            name=spec.name,
            who=spec.who,
            source=spec.source,
            ages_years=spec.ages_years,
            part=f"{INTERNAL_PREFIX}{part}",
            images=int(chosen.sum()),
            patients=len(set(judged.patients)),
            auroc=figures[first]["auroc"],
            ece=figures[first]["ece"],
            operating_points={
                point.name: PopulationPoint(
                    accuracy=figures[point.name]["accuracy"],
                    sensitivity=figures[point.name]["sensitivity"],
                    specificity=figures[point.name]["specificity"],
                    referred=estimate_mean(
                        abstentions(referral, judged, point, task), judged.patients, seed=0
                    ),
                )
                for point in points
            },
            sources=tuple(
                PopulationSource(
                    name=source,
                    images=int((chosen & (samples.sources == source)).sum()),
                    auroc=of_source["auroc"],
                    sensitivity=of_source["sensitivity"],
                    specificity=of_source["specificity"],
                )
                for source, of_source in by_source.items()
            ),
        )

    return tuple(map(describe, specs))
