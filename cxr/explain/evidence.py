"""Whether heatmaps are worth anything: what the faithfulness checks found for one run.

``python -m training faithfulness --save`` writes it into the run directory; the model card shows
it. It belongs to one set of weights and says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from cxr.bundles.measured import Measured, read_measured
from cxr.explain.methods import GivenMethod
from cxr.metrics.estimate import Estimate
from cxr.section import Section

EVIDENCE_NAME = "explanation.json"


class Curve(Section):
    """The area under one method's curve, and how far it is from that of random maps."""

    area: Estimate
    difference: Estimate = Field(description="Area less the random maps', paired by image.")

    def lies_below_random(self) -> bool:
        """Whether the whole interval of the difference is below zero."""
        return self.difference.high is not None and self.difference.high < 0

    def lies_above_random(self) -> bool:
        """Whether the whole interval of the difference is above zero."""
        return self.difference.low is not None and self.difference.low > 0


class Curves(Section):
    """Deletion and insertion of one group of images (Petsiuk et al., "RISE", BMVC 2018).

    Attributes:
        group: Positives called so, explained as positive; or negatives, explained as negative.
        baseline: What removed blocks become. ``donor``: the same place of an image of the other
            group, drawn for each image, so that the baseline is a radiograph of the other class.
            ``blur``: the image itself, blurred.
    """

    group: Literal["true_positive", "true_negative"]
    baseline: Literal["donor", "blur"]
    images: int
    intact: Estimate = Field(description="Probability of the explained class, image intact.")
    removed: Estimate = Field(description="The same with everything replaced by the baseline.")
    random: Estimate = Field(description="Area for random maps, the same for both curves.")
    deletion: dict[GivenMethod, Curve]
    insertion: dict[GivenMethod, Curve]

    def can_tell(self) -> bool:
        """Whether the baseline takes the class away: else the curves have nowhere to fall."""
        intact, removed = self.intact.value, self.removed.value
        return intact is not None and removed is not None and removed < intact / 2


class Likeness(Section):
    """How alike two heatmaps are."""

    spearman: Estimate = Field(description="Rank correlation of the cells; 0 for an even map.")
    ssim: Estimate = Field(description="Structural similarity.")


class Randomised(Section):
    """Likeness of the trained network's heatmaps to those after randomising down to a stage."""

    stage: str
    likeness: Likeness


class Randomisation(Section):
    """Cascading randomisation (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018)."""

    stages: tuple[Randomised, ...] = Field(min_length=1, description="From the classifier down.")
    reference: Likeness = Field(description="Of heatmaps of two patients, same weights.")

    def falls_to_reference(self) -> bool:
        """Whether the fully randomised network's maps are no more alike than two patients'."""
        last, other = self.stages[-1].likeness.spearman, self.reference.spearman
        return last.value is not None and other.high is not None and last.value <= other.high

    def outlives_the_classifier(self) -> bool:
        """Whether maps stay more alike than two patients' when the classifier is randomised."""
        first, other = self.stages[0].likeness.spearman, self.reference.spearman
        return first.low is not None and other.high is not None and first.low > other.high


class LungShare(Section):
    """Share of the heat inside the estimated lung field, and what chance would give."""

    heat: Estimate
    shuffled: Estimate = Field(description="Of the same heat put into blocks at random.")
    ratio: Estimate = Field(description="Heat share by area share, mean over the images.")
    even_maps: int = Field(ge=0, description="Images left out: their map is zero everywhere.")

    def favours_lungs(self) -> bool:
        """Whether the whole interval of the ratio is above one."""
        return self.ratio.low is not None and self.ratio.low > 1


class ExplanationEvidence(Measured):
    """The content of ``explanation.json``."""

    schema_version: Literal[1] = 1
    run: str
    version: str
    code_revision: str
    versions: dict[str, str]
    split: str
    seed: int
    images: int = Field(description="Chosen, evenly per class.")
    patients: int
    operating_point: str = Field(description="At which images count as rightly called.")
    steps: int
    blocks: int
    layer: str
    curves: tuple[Curves, ...] = Field(min_length=1)
    randomisation_images: int
    randomisation_repeats: int
    randomisation: dict[GivenMethod, Randomisation]
    lung_area: Estimate = Field(description="Share of the image inside the lung field: chance.")
    lung_share: dict[GivenMethod, LungShare]


def read_evidence(run_path: Path, weights_sha256: str) -> ExplanationEvidence | None:
    """Read what was measured for a run; None if nothing was.

    Args:
        run_path: The run directory.
        weights_sha256: Of the run's weights.

    Raises:
        RunError: The file is not such evidence, or is about other weights.
    """
    again = "Remove it, or measure again with python -m training faithfulness --save."
    return read_measured(run_path / EVIDENCE_NAME, ExplanationEvidence, weights_sha256, again)
