"""The model card: whom a model knows, its limits, and its heatmaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr.bundles.bundle import open_bundle
from cxr.bundles.manifest import Manifest, task_section
from cxr.bundles.run import Run
from cxr.data.labels import ETIOLOGY, PNEUMONIA, TERNARY, Task
from cxr.explain.evidence import (
    Curve,
    Curves,
    Dependence,
    ExplanationEvidence,
    Likeness,
    LungShare,
    Pointing,
    Randomisation,
    Randomised,
)
from cxr.metrics.estimate import Estimate
from cxr.verdict.populations import Population
from cxr.verdict.scope import ScopeFigure
from export.card import intended_use, limitations, render_card
from tests.populations import ADULTS, CHILDREN, UNPROVEN
from tests.service.make_bundle import make_bundle


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
                peaks_outside=make_estimate(0.1),
                even_maps=2,
            )
        },
        pointing_images=7,
        pointing={
            "gradcam": Pointing(
                hits=make_estimate(0.7),
                hits_called=make_estimate(0.8),
                by_chance=make_estimate(0.2),
            )
        },
        dependence={
            "children": Dependence(
                images=9,
                auroc=make_estimate(0.97),
                change_without_outside=make_estimate(0.02),
                kept_without_outside=make_estimate(0.95),
                auroc_without_lungs=make_estimate(0.6),
                auroc_of_borders=make_estimate(0.55),
            )
        },
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Validated on children and on adults."""
    return open_bundle(make_bundle(tmp_path_factory.mktemp("card"))).manifest


def section(manifest: Manifest, evidence: ExplanationEvidence | None) -> str:
    card = render_card(manifest, (), evidence)
    (_, found) = card.split("## Is the heatmap worth anything?\n")
    return " ".join(found.split("## Limitations")[0].split())


def test_card_gives_figures_with_what_they_mean(manifest: Manifest) -> None:
    """Each figure with its interval, and what passes and what does not by name."""
    text = section(manifest, make_evidence())
    assert "| gradcam | 0.400 (0.390 to 0.410) | -0.200 (-0.210 to -0.190) |" in text
    assert "by deletion gradcam; by insertion none" in text
    assert "all weights randomised: gradcam." in text
    assert "after the classifier was randomised: gradcam." in text
    assert "the whole interval counted: gradcam. Images left out" in text
    assert "map is empty: gradcam 2." in text


@pytest.mark.parametrize("difference", [0.0, 0.2])
def test_card_says_what_is_no_better_than_random(manifest: Manifest, difference: float) -> None:
    """An interval that reaches zero, or lies on the wrong side, is no success."""
    text = section(manifest, make_evidence(difference=difference))
    assert "by deletion none; by insertion none" in text


def test_card_does_not_read_curves_that_cannot_fall(manifest: Manifest) -> None:
    """Where the baseline is still called the class, no method is praised."""
    text = section(manifest, make_evidence(removed=0.95))
    assert "This baseline cannot tell" in text
    assert "by deletion gradcam" not in text


def test_card_without_evidence_says_so(manifest: Manifest, smoke_bundle: Path) -> None:
    """Nothing measured is said, not passed over."""
    assert section(manifest, None).startswith("It was not measured for this model")
    assert "It was not measured" in (smoke_bundle / "MODEL_CARD.md").read_text()


def make_run(manifest: Manifest, task: Task, *populations: Population) -> Run:
    """Make the run that a manifest could be of."""
    shared = {name: getattr(manifest, name) for name in Run.model_fields if hasattr(manifest, name)}
    digests = dict.fromkeys(("weights_sha256", "scope_sha256"), "0" * 64)
    own = {"recipe": {}, "notes": (), "versions": {}, "curves": ()}
    changes = {"task": task_section(task), "populations": populations}
    return Run.model_construct(**(shared | digests | own | changes))


@pytest.mark.parametrize(
    ("task", "asked", "limits"),
    [
        (PNEUMONIA, "how probable pneumonia is", ("two classes", "share of pneumonia in")),
        (TERNARY, "how probable pneumonia is", ("three classes", "share of pneumonia in")),
        (
            ETIOLOGY,
            "whether pneumonia known to be there is viral or bacterial",
            ("Presupposes pneumonia", "two classes", "share of bacterial pneumonia in"),
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Task) else "",
)
def test_use_and_limits_are_those_of_the_question(
    manifest: Manifest, task: Task, asked: str, limits: tuple[str, ...]
) -> None:
    """A model that presupposes pneumonia is not said to estimate whether there is any."""
    run = make_run(manifest, task, CHILDREN, ADULTS)
    assert f"an estimate of {asked} on frontal chest radiographs of" in intended_use(run)
    said = " ".join(limitations(run))
    assert [part for part in limits if part not in said] == []
    assert ("Presupposes" in said) == ("Presupposes pneumonia" in limits)


@pytest.mark.parametrize(
    ("populations", "use", "validated"),
    [
        (
            (CHILDREN, ADULTS),
            "radiographs of children aged 1 to 5 or adults, one",
            "Validated on children aged 1 to 5 and adults only. Radiographs that do not",
        ),
        (
            (CHILDREN, UNPROVEN),
            "radiographs of children aged 1 to 5, one",
            "Validated on children aged 1 to 5 only, and not good enough for adults. Radiographs",
        ),
        ((UNPROVEN,), "radiographs, one", "Validated on nobody: it decides nothing"),
    ],
    ids=["both", "one of two", "nobody"],
)
def test_whom_it_is_for_follows_from_the_populations(
    manifest: Manifest, populations: tuple[Population, ...], use: str, validated: str
) -> None:
    """Whoever trains a model on other patients reads of theirs alone."""
    run = make_run(manifest, PNEUMONIA, *populations)
    said = " ".join(limitations(run))
    assert use in intended_use(run)
    assert validated in said
    assert "Trained on 3 radiographs of 3 patients: " in said
    assert all(f"{one.who} ({one.source})" in said for one in populations)
    assert ("children" in said) == (CHILDREN in populations)


def test_card_shows_whom_the_model_is_validated_on(manifest: Manifest) -> None:
    """A row for each population and for each of its sources; who is not validated is told."""
    figure = ScopeFigure(
        name="another hospital",
        frontal=True,
        images=50,
        flagged=make_estimate(0.02),
        refused=0.0,
        belongs={"children": 0.1, "adults": 0.7},
    )
    poor = manifest.model_copy(
        update={
            "populations": (CHILDREN, UNPROVEN),
            "scope": manifest.scope.model_copy(update={"figures": (figure,)}),
        }
    )
    card = render_card(poor, ())
    good = "0.970 (0.950 to 0.990)"
    rows = (
        f"| children aged 1 to 5 | children | {CHILDREN.source} | 1 to 5 | 300 (200) | {good} | "
        f"{good} | {good} | 0.020 (0.010 to 0.030) | yes |",
        f"| adults | adults | {UNPROVEN.source} | 16 to 120 | 300 (200) | 0.840 (0.800 to 0.880) |",
        f"| children aged 1 to 5 | children-hospital | 300 | {good} | {good} | {good} |",
        "| another hospital | yes | 50 | 0.020 (0.010 to 0.030) | 0.000 | 0.100 | 0.700 | 0.200 |",
        "Never validated: adults; everybody who is not listed.",
    )
    assert [row for row in rows if row not in card] == []
    assert "Never validated: everybody who is not listed." in render_card(manifest, ())
    ageless = CHILDREN.model_copy(update={"ages_years": None, "sources": ()})
    plain = manifest.model_copy(update={"populations": (ageless,)})
    card = render_card(plain, ())
    assert "| not known | 300 (200) |" in card
    assert "children-hospital" not in card


def test_card_names_the_finding_and_its_classes(manifest: Manifest) -> None:
    """Of three classes, two make up what is decided."""
    assert "finding PNEUMONIA\n" in render_card(manifest, ())
    ternary = manifest.model_copy(update={"task": task_section(TERNARY)})
    assert "finding PNEUMONIA (BACTERIAL, VIRAL)\n" in render_card(ternary, ())
