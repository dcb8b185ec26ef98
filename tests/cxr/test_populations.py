"""Whom a picture belongs to, and what becomes of one that belongs to nobody validated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from cxr.data.labels import PNEUMONIA
from cxr.images.layout import LAYOUT_SIZE
from cxr.metrics.estimate import Estimate
from cxr.pixels.image import DicomFacts
from cxr.verdict.decision import Evidence, Referral, Rules, reach_verdict
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.populations import Population, Unfamiliar, familiarity
from cxr.verdict.reasons import BLANK, NOT_A_CHEST, UNFAMILIAR
from cxr.verdict.scope import PopulationLines, Scope, ScopeGate, ScopeThresholds
from tests.populations import ADULTS, CHILDREN, UNPROVEN

POINT = OperatingPoint(name="balanced", threshold=0.5, sensitivity=0.9, specificity=0.9)
NOBODY = "The picture does not look like those the model was validated on, of "
BOTH = "children aged 1 to 5 or adults"


@pytest.mark.parametrize(
    ("second", "place", "age", "belongs", "said"),
    [
        pytest.param(ADULTS, 0, None, "children", None, id="looks like one, age unknown"),
        pytest.param(ADULTS, 0, 3.0, "children", None, id="looks like one, age agrees"),
        pytest.param(ADULTS, 0, 5.9, "children", None, id="before the sixth birthday"),
        pytest.param(ADULTS, 1, 40.0, "adults", None, id="looks like the other"),
        pytest.param(ADULTS, None, None, None, f"{NOBODY}{BOTH}.", id="looks like none"),
        pytest.param(ADULTS, None, 3.0, None, f"{NOBODY}{BOTH}.", id="an age is not enough"),
        pytest.param(
            *(ADULTS, 0, 40.0, None),
            "The picture looks like one of children aged 1 to 5, but the patient's age is another. "
            f"The model was validated on {BOTH}.",
            id="looks like a child, age of an adult",
        ),
        pytest.param(
            *(ADULTS, 0, 8.0, None),
            f"The patient's age is outside those the model was validated on: {BOTH}.",
            id="age of nobody",
        ),
        pytest.param(
            *(UNPROVEN, 1, 40.0, "adults"),
            "The model was not validated on adults, only on children aged 1 to 5.",
            id="not validated",
        ),
        pytest.param(
            *(UNPROVEN, 0, 40.0, None),
            "The patient's age is outside those the model was validated on: children aged 1 to 5.",
            id="looks like a child, age of somebody not validated",
        ),
    ],
)
def test_look_and_age_have_to_agree(
    second: Population, place: int | None, age: float | None, belongs: str | None, said: str | None
) -> None:
    """The sentence names whom the model knows, and never the patient's age."""
    found = familiarity((CHILDREN, second), place, () if age is None else (age,))
    assert (found.population and found.population.name) == belongs
    assert (found.reason and found.reason.text) == said
    assert found.reason is None or found.reason.code == UNFAMILIAR


def test_a_population_without_ages_contradicts_none() -> None:
    """It is known by its pictures only."""
    ageless = CHILDREN.model_copy(update={"ages_years": None})
    assert familiarity((ageless,), 0, (80.0,)).reason is None


@pytest.mark.parametrize("ages", [(3.0, 45.0), (45.0, 3.0), (3.0, 9.0)])
def test_ages_that_contradict_belong_to_nobody(ages: tuple[float, float]) -> None:
    """Which of them is right, nobody knows."""
    assert familiarity((CHILDREN, ADULTS), 0, ages).population is None


@pytest.mark.parametrize(
    ("low", "validated"), [(0.9, True), (0.95, True), (0.899, False), (None, False)]
)
def test_the_lower_end_of_the_interval_validates(low: float | None, validated: bool) -> None:
    """A high AUROC of a few patients proves nothing."""
    auroc = Estimate(value=0.99, low=low, high=1.0)
    assert CHILDREN.model_copy(update={"auroc": auroc}).validated == validated


@pytest.mark.parametrize("name", ["", "Children", "two words", "a" * 33])
def test_names_are_words_for_programs(name: str) -> None:
    """They stand in JSON, CSV files and DICOM parameters."""
    with pytest.raises(ValidationError, match="name"):
        Population.model_validate(CHILDREN.model_dump() | {"name": name})


LAYOUT = np.ones(LAYOUT_SIZE, dtype=np.float32)


def gate_of(scores: tuple[float, ...]) -> ScopeGate:
    """Make a gate that scores every layout like this for each population."""
    zeros = np.zeros((len(scores), LAYOUT_SIZE), dtype=np.float32)
    return ScopeGate(
        layout_weights=zeros[0],
        layout_bias=np.zeros(1, dtype=np.float32),
        population_weights=zeros,
        population_bias=np.array(scores, dtype=np.float32),
        population_mean=zeros,
        population_components=zeros[:, np.newaxis],
        embedding_mean=np.zeros(2, dtype=np.float32),
        embedding_whitening=np.eye(2, dtype=np.float32),
    )


@pytest.mark.parametrize(
    ("scores", "least", "most_rest", "place"),
    [
        pytest.param((1.0, -1.0), (0.0, 0.0), 1e9, 0, id="one"),
        pytest.param((-1.0, 1.0), (0.0, 0.0), 1e9, 1, id="the other"),
        pytest.param((1.0, 2.0), (0.0, 0.0), 1e9, 1, id="both, the clearer"),
        pytest.param((1.0, 2.0), (-1.0, 1.9), 1e9, 0, id="clearer by its own line"),
        pytest.param((-1.0, -1.0), (0.0, 0.0), 1e9, None, id="none"),
        pytest.param((1.0, -1.0), (0.0, 0.0), LAYOUT_SIZE - 1.0, None, id="far from its pictures"),
        pytest.param((1.0, -1.0), (0.0, 0.0), LAYOUT_SIZE + 1.0, 0, id="near to its pictures"),
    ],
)
def test_membership_of_a_layout(
    scores: tuple[float, ...], least: tuple[float, ...], most_rest: float, place: int | None
) -> None:
    """A classifier tells populations apart; the rest tells those that are like neither."""
    lines = tuple(PopulationLines(score=line, rest=most_rest) for line in least)
    thresholds = ScopeThresholds(layout=-1.0, embedding=1e9, populations=lines)
    assert gate_of(scores).population_of(LAYOUT, thresholds) == place


RULES = Rules(
    task=PNEUMONIA,
    referral=Referral(
        coverage=0.9, least_probability={"NORMAL": 0.5, "PNEUMONIA": 0.5}, figures=()
    ),
    gate=gate_of((1.0, -1.0)),
    thresholds=ScopeThresholds(
        layout=-1.0,
        embedding=1e9,
        populations=(PopulationLines(score=0.0, rest=1e9), PopulationLines(score=0.0, rest=1e9)),
    ),
    populations=(CHILDREN, UNPROVEN),
)


def evidence(age: float | None = None, plain: Scope = Scope(True, ())) -> Evidence:  # noqa: B008
    facts = DicomFacts(
        modality="DX",
        view_position="PA",
        body_part="CHEST",
        photometric_interpretation="MONOCHROME2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        ages_years=() if age is None else (age,),
    )
    shares = {"NORMAL": 0.1, "PNEUMONIA": 0.9}
    return Evidence(shares, np.zeros(2, dtype=np.float32), LAYOUT, plain, facts)


@pytest.mark.parametrize(
    ("unfamiliar", "decision", "reasons", "warnings"),
    [("refer", "refer", 1, 0), ("refuse", "refer", 1, 0), ("warn", "positive", 0, 1)],
)
@pytest.mark.parametrize(
    ("scores", "age", "belongs"),
    [
        pytest.param((-1.0, -1.0), None, None, id="looks like none"),
        pytest.param((-1.0, 1.0), 40.0, "adults", id="not validated"),
        pytest.param((1.0, -1.0), 40.0, None, id="age contradicts"),
    ],
)
def test_the_rules_say_what_becomes_of_the_unfamiliar(
    unfamiliar: Unfamiliar,
    decision: str,
    reasons: int,
    warnings: int,
    scores: tuple[float, ...],
    age: float | None,
    belongs: str | None,
) -> None:
    """Only where they say ``warn`` is anything decided."""
    rules = replace(RULES, gate=gate_of(scores), unfamiliar=unfamiliar)
    verdict = reach_verdict(evidence(age), rules, POINT)
    name = None if verdict.population is None else verdict.population.name
    assert (verdict.decision, name) == (decision, belongs)
    assert [one.code for one in verdict.reasons] == [UNFAMILIAR] * reasons
    assert len(verdict.warnings) == warnings
    assert (verdict.label is None) == (decision == "refer")


def test_a_familiar_picture_is_decided() -> None:
    """Without a word about populations."""
    verdict = reach_verdict(evidence(3.0), RULES, POINT)
    assert (verdict.decision, verdict.population) == ("positive", CHILDREN)
    assert (verdict.reasons, verdict.warnings) == ((), ())


def test_what_is_no_chest_belongs_to_nobody() -> None:
    """The reasons it has are enough."""
    blank = evidence(40.0, Scope(in_scope=False, reasons=(BLANK,)))
    thresholds = RULES.thresholds.model_copy(update={"layout": 1.0})
    for rules in (RULES, replace(RULES, unfamiliar="warn")):
        found = reach_verdict(blank, rules, POINT)
        assert (found.population, found.reasons, found.warnings) == (None, (BLANK,), ())
        found = reach_verdict(evidence(40.0), replace(rules, thresholds=thresholds), POINT)
        assert (found.population, found.reasons, found.warnings) == (None, (NOT_A_CHEST,), ())
