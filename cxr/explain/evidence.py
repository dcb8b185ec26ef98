"""Faithfulness checks of one run's heatmaps.

``python -m training faithfulness --save`` writes them; the model card shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from cxr.bundles.methods import METHODS, GivenMethod, Method
from cxr.bundles.run import Measured, read_measured
from cxr.metrics.estimate import Estimate, format_estimate
from cxr.section import Section

EVIDENCE_NAME = "explanation.json"


class Curve(Section):
    """Area under a method's curve, and its difference from random maps."""

    area: Estimate
    difference: Estimate = Field(description="Area less the random maps', paired by image.")

    def lies_below_random(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.difference.high is not None and self.difference.high < 0

    def lies_above_random(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.difference.low is not None and self.difference.low > 0


class Curves(Section):
    """Deletion and insertion of one group of images (Petsiuk et al., "RISE", BMVC 2018).

    Removed blocks become the ``baseline``: the same place of another group's image (donor), or of
    the image itself, blurred.
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
        """Whether the baseline takes the class away."""
        intact, removed = self.intact.value, self.removed.value
        return intact is not None and removed is not None and removed < intact / 2


class Likeness(Section):
    """Similarity of two heatmaps."""

    spearman: Estimate = Field(description="Rank correlation of the cells; 0 for an even map.")
    ssim: Estimate = Field(description="Structural similarity.")


class Randomised(Section):
    """Similarity to heatmaps after randomising down to a stage."""

    stage: str
    likeness: Likeness


class Randomisation(Section):
    """Cascading randomisation (Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018)."""

    stages: tuple[Randomised, ...] = Field(min_length=1, description="From the classifier down.")
    reference: Likeness = Field(description="Of heatmaps of two patients, same weights.")

    def falls_to_reference(self) -> bool:
        """Whether fully randomised maps are as unlike as two patients'."""
        last, other = self.stages[-1].likeness.spearman, self.reference.spearman
        return last.value is not None and other.high is not None and last.value <= other.high

    def outlives_the_classifier(self) -> bool:
        """Whether maps stay alike without the classifier."""
        first, other = self.stages[0].likeness.spearman, self.reference.spearman
        return first.low is not None and other.high is not None and first.low > other.high


class LungShare(Section):
    """Share of the heat inside the lung field, and by chance."""

    heat: Estimate
    shuffled: Estimate = Field(description="Of the same heat put into blocks at random.")
    ratio: Estimate = Field(description="Heat share by area share, mean over the images.")
    peaks_outside: Estimate = Field(description="Share of maps that peak outside the lungs.")
    even_maps: int = Field(ge=0, description="Images left out: their map is zero everywhere.")

    def favours_lungs(self) -> bool:
        """Whether the whole interval of the ratio is above one."""
        return self.ratio.low is not None and self.ratio.low > 1


class Pointing(Section):
    """The pointing game (Zhang et al., ECCV 2016), on images whose finding is marked."""

    hits: Estimate = Field(description="Share of maps that peak in the marked region.")
    hits_called: Estimate = Field(description="The same among images called positive.")
    by_chance: Estimate = Field(description="Share of the image that is marked.")


class Dependence(Section):
    """What the answers for one population depend on.

    What is blanked becomes black or the mean grey of the rest; each figure is the worse of the two.
    """

    images: int
    auroc: Estimate
    change_without_outside: Estimate = Field(
        description="Median change of the probability when all outside the lungs is blanked."
    )
    kept_without_outside: Estimate = Field(description="Share of calls that stay the same then.")
    auroc_without_lungs: Estimate = Field(description="When the lungs are blanked: 0.5 is best.")
    auroc_of_borders: Estimate = Field(description="Of the outer tenth of the image alone.")


class ExplanationEvidence(Measured):
    """The content of ``explanation.json``."""

    schema_version: Literal[2] = 2
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
    pointing_images: int
    pointing: dict[GivenMethod, Pointing]
    dependence: dict[str, Dependence] = Field(description="By population.")

    def passes(self, method: Method) -> bool:
        """Whether a method's maps show what the network answers by.

        They are unlike the trained network's once its classifier, or all of it, is random, and they
        delete and insert better than random maps, where the baseline can tell.
        """
        if method not in self.randomisation:
            return False
        telling = [one for one in self.curves if one.group == "true_positive" and one.can_tell()]
        randomised = self.randomisation[method]
        is_learnt = randomised.falls_to_reference() and not randomised.outlives_the_classifier()
        return is_learnt and all(
            one.deletion[method].lies_below_random() and one.insertion[method].lies_above_random()
            for one in telling
        )

    def passing(self) -> tuple[Method, ...]:
        """Return the methods that pass."""
        return tuple(method for method in METHODS if self.passes(method))


def read_evidence(run_path: Path, weights_sha256: str) -> ExplanationEvidence | None:
    """Read what was measured for a run, None if nothing; RunError if invalid."""
    again = "Remove it, or measure again with python -m training faithfulness --save."
    return read_measured(run_path / EVIDENCE_NAME, ExplanationEvidence, weights_sha256, again)


GROUPS = {
    "true_positive": "positive images called positive, explained as positive",
    "true_negative": "negative images called negative, explained as negative",
}
BASELINES = {
    "donor": "the same place of an image of the other class",
    "blur": "the image itself, blurred",
}


def curves_markdown(curves: Curves) -> str:
    """Return a table of deletion and insertion."""
    rows = []
    for method, deletion in curves.deletion.items():
        insertion = curves.insertion[method]
        rows.append(
            (
                method,
                _text(deletion.area),
                _text(deletion.difference, signed=True),
                _text(insertion.area),
                _text(insertion.difference, signed=True),
            )
        )
    header = ("method", "deletion area", "less random", "insertion area", "less random")
    return "\n".join(
        [
            f"{curves.images} {GROUPS[curves.group]}; removed blocks become "
            f"{BASELINES[curves.baseline]}. Probability of the explained class intact "
            f"{_text(curves.intact)}, all removed {_text(curves.removed)}; area for random maps "
            f"{_text(curves.random)}.",
            "",
            _table(header, rows),
        ]
    )


def randomisation_markdown(evidence: ExplanationEvidence) -> str:
    """Return a table of rank correlations."""
    methods = list(evidence.randomisation)
    stages = [row.stage for row in evidence.randomisation[methods[0]].stages]
    rows = [
        (
            f"down to {stage}",
            *(
                _text(evidence.randomisation[method].stages[i].likeness.spearman)
                for method in methods
            ),
        )
        for i, stage in enumerate(stages)
    ]
    references = [evidence.randomisation[method].reference for method in methods]
    rows.append(("two patients, nothing randomised", *(_text(r.spearman) for r in references)))
    ends = [evidence.randomisation[method].stages[-1].likeness.ssim for method in methods]
    rows.append(("SSIM, all randomised", *map(_text, ends)))
    rows.append(("SSIM, two patients", *(_text(r.ssim) for r in references)))
    return _table(("rank correlation with the trained network's map", *methods), rows)


def lung_markdown(evidence: ExplanationEvidence) -> str:
    """Return a table of heat inside the lung field."""
    rows = [
        (
            method,
            _text(share.heat),
            _text(share.shuffled),
            _text(share.ratio),
            _text(share.peaks_outside),
        )
        for method, share in evidence.lung_share.items()
    ]
    header = ("method", "heat in the lungs", "the same shuffled", "heat by area", "peaks outside")
    return _table(header, rows)


def pointing_markdown(evidence: ExplanationEvidence) -> str:
    """Return a table of the pointing game."""
    rows = [
        (method, _text(one.hits), _text(one.hits_called), _text(one.by_chance))
        for method, one in evidence.pointing.items()
    ]
    return _table(("method", "peaks in the finding", "if called positive", "by chance"), rows)


def dependence_markdown(evidence: ExplanationEvidence) -> str:
    """Return a table of what the answers depend on."""
    rows = [
        (
            name,
            str(one.images),
            _text(one.auroc),
            _text(one.change_without_outside),
            _text(one.kept_without_outside),
            _text(one.auroc_without_lungs),
            _text(one.auroc_of_borders),
        )
        for name, one in evidence.dependence.items()
    ]
    header = (
        *("population", "images", "AUROC", "median change without the outside"),
        *("calls kept without it", "AUROC without lungs", "AUROC of borders"),
    )
    return _table(header, rows)


def evidence_markdown(evidence: ExplanationEvidence) -> str:
    """Return all tables, each under its heading."""
    parts = ["Deletion and insertion"]
    parts += [curves_markdown(curves) for curves in evidence.curves]
    parts += ["Randomised weights", randomisation_markdown(evidence)]
    area = _text(evidence.lung_area)
    parts += [f"Lung field ({area} of the image)", lung_markdown(evidence)]
    if evidence.pointing:
        marked = f"Pointing game ({evidence.pointing_images} images)"
        parts += [marked, pointing_markdown(evidence)]
    parts += ["What the answers depend on", dependence_markdown(evidence)]
    parts += [f"Methods that pass: {', '.join(evidence.passing()) or 'none'}"]
    return "\n\n".join(parts)


def _text(estimate: Estimate, signed: bool = False) -> str:
    text = format_estimate("share", estimate)
    return f"+{text}" if signed and estimate.value is not None and estimate.value > 0 else text


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
