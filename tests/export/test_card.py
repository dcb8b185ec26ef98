"""The model card's section on heatmaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr.bundles.bundle import open_bundle
from cxr.bundles.manifest import task_section
from cxr.bundles.run import Run, open_run
from cxr.data.labels import TERNARY
from cxr.explain.evidence import (
    Curve,
    Curves,
    ExplanationEvidence,
    Likeness,
    LungShare,
    Randomisation,
    Randomised,
)
from cxr.metrics.estimate import Estimate
from export.card import intended_use, limitations, render_card
from tests.conftest import REPOSITORY


def make_estimate(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def make_evidence(removed: float = 0.1, difference: float = -0.2) -> ExplanationEvidence:
    likeness = Likeness(spearman=make_estimate(0.2), ssim=make_estimate(0.3))
    kept = Likeness(spearman=make_estimate(0.9), ssim=make_estimate(0.9))
    return ExplanationEvidence(
        run="smoke",
        version="0.0.1",
        weights_sha256="0" * 64,
        code_revision="abc",
        versions={},
        split="internal-test",
        seed=0,
        images=20,
        patients=18,
        operating_point="balanced",
        steps=10,
        blocks=196,
        layer="block3",
        curves=(
            Curves(
                group="true_positive",
                baseline="donor",
                images=9,
                intact=make_estimate(0.97),
                removed=make_estimate(removed),
                random=make_estimate(0.6),
                deletion={
                    "gradcam": Curve(
                        area=make_estimate(0.6 + difference), difference=make_estimate(difference)
                    )
                },
                insertion={
                    "gradcam": Curve(area=make_estimate(0.6), difference=make_estimate(0.0))
                },
            ),
        ),
        randomisation_images=9,
        randomisation_repeats=3,
        randomisation={
            "gradcam": Randomisation(
                stages=(
                    Randomised(stage="fc2", likeness=kept),
                    Randomised(stage="block1", likeness=likeness),
                ),
                reference=likeness,
            )
        },
        lung_area=make_estimate(0.3),
        lung_share={
            "gradcam": LungShare(
                heat=make_estimate(0.4),
                shuffled=make_estimate(0.3),
                ratio=make_estimate(1.3),
                even_maps=2,
            )
        },
    )


def section(bundle: Path, evidence: ExplanationEvidence | None) -> str:
    card = render_card(open_bundle(bundle).manifest, (), evidence)
    (_, found) = card.split("## Is the heatmap worth anything?\n")
    return " ".join(found.split("## Limitations")[0].split())


def test_card_gives_figures_with_what_they_mean(smoke_bundle: Path) -> None:
    """Each figure with its interval, and what passes and what does not by name."""
    text = section(smoke_bundle, make_evidence())
    assert "| gradcam | 0.400 (0.390 to 0.410) | -0.200 (-0.210 to -0.190) |" in text
    assert "by deletion gradcam; by insertion none" in text
    assert "all weights randomised: gradcam." in text
    assert "after the classifier was randomised: gradcam." in text
    assert "the whole interval counted: gradcam. Images left out" in text
    assert "map is empty: gradcam 2." in text


@pytest.mark.parametrize("difference", [0.0, 0.2])
def test_card_says_what_is_no_better_than_random(smoke_bundle: Path, difference: float) -> None:
    """An interval that reaches zero, or lies on the wrong side, is no success."""
    text = section(smoke_bundle, make_evidence(difference=difference))
    assert "by deletion none; by insertion none" in text


def test_card_does_not_read_curves_that_cannot_fall(smoke_bundle: Path) -> None:
    """Where the baseline is still called the class, no method is praised."""
    text = section(smoke_bundle, make_evidence(removed=0.95))
    assert "This baseline cannot tell" in text
    assert "by deletion gradcam" not in text


def test_card_without_evidence_says_so(smoke_bundle: Path) -> None:
    """Nothing measured is said, not passed over."""
    assert section(smoke_bundle, None).startswith("It was not measured for this model")
    assert "It was not measured" in (smoke_bundle / "MODEL_CARD.md").read_text()


def shipped(name: str) -> Run:
    """Open a run that ships."""
    return open_run(REPOSITORY / "models" / name)


@pytest.mark.parametrize(
    ("name", "asked", "limits"),
    [
        ("resnet18", "how probable pneumonia is", ("two classes", "74 %", "Guangzhou")),
        ("resnet18-ternary", "how probable pneumonia is", ("three classes", "74 %", "Guangzhou")),
        (
            "more/resnet18-etiology",
            "whether pneumonia known to be there is viral or bacterial",
            ("Presupposes pneumonia", "two classes", "bacterial among the pneumonias", "65 %"),
        ),
    ],
)
def test_use_and_limits_are_those_of_the_question(
    name: str, asked: str, limits: tuple[str, ...]
) -> None:
    """A model that presupposes pneumonia is not said to estimate whether there is any."""
    run = shipped(name)
    assert f"an estimate of {asked} on one frontal chest radiograph of a child" in intended_use(run)
    said = " ".join(limitations(run))
    assert [part for part in limits if part not in said] == []
    assert ("Presupposes" in said) == ("Presupposes pneumonia" in limits)


def test_other_data_are_not_called_those_of_the_shipped_models() -> None:
    """Whoever trains a model learns nothing from it about a hospital in Guangzhou."""
    run = shipped("resnet18")
    provenance = run.provenance.model_copy(update={"data_digest": "0" * 64})
    own = run.model_copy(update={"provenance": provenance})
    said = " ".join((intended_use(own), *limitations(own)))
    assert [word for word in ("Guangzhou", "child", "74", "microbiology") if word in said] == []
    assert "Trained on 4183 radiographs of 2119 patients" in said


def test_card_names_the_finding_and_its_classes(smoke_bundle: Path) -> None:
    """Of three classes, two make up what is decided."""
    manifest = open_bundle(smoke_bundle).manifest
    assert "finding PNEUMONIA\n" in render_card(manifest, ())
    ternary = manifest.model_copy(update={"task": task_section(TERNARY)})
    assert "finding PNEUMONIA (BACTERIAL, VIRAL)\n" in render_card(ternary, ())
