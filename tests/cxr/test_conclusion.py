"""Verdicts in words: the finding, the line that decided, and why a picture is out of why."""

from __future__ import annotations

import pytest

from cxr.data.labels import ETIOLOGY, PNEUMONIA, TASKS, TERNARY, Task
from cxr.verdict import reasons as why
from cxr.verdict.conclusion import ABSTAINS, NO_CHEST, conclude, percents, words_of
from cxr.verdict.decision import Referral, Verdict, decide, probability_of_finding
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.reasons import Reason

LINES = {
    "pneumonia": {"NORMAL": 0.69761, "PNEUMONIA": 0.19755},
    "etiology": {"VIRAL": 0.10531, "BACTERIAL": 0.22668},
    "ternary": {"NORMAL": 0.66119, "BACTERIAL": 0.12499, "VIRAL": 0.05033},
}
"""Those of the shipped models."""


def in_words(
    task: Task, *shares: float, threshold: float, out: tuple[Reason, ...] = ()
) -> list[str]:
    """Decide on probabilities of the classes and give headline and reasons."""
    by_class = dict(zip(task.classes, shares, strict=True))
    referral = Referral(coverage=0.98, least_probability=LINES[task.name], figures=())
    point = OperatingPoint(name="p", threshold=threshold, sensitivity=1, specificity=1)
    chosen = referral.prediction_set(by_class)
    probability = probability_of_finding(task, by_class)
    decision = decide(
        probability,
        point,
        positives=task.positive_classes,
        prediction_set=chosen,
        in_scope=not out,
    )
    side = task.positive_classes if decision == "positive" else task.negative_classes
    label = None if decision == "refer" else max(side, key=by_class.__getitem__)
    verdict = Verdict(label, probability, decision, chosen, None, out, ())
    said = conclude(verdict, task, by_class, point, referral)
    return [said.headline, *said.reasons]


UNFAMILIAR_HEADLINE = "No answer: not a patient like those the model was validated on"
UPPER = "the upper end of the range in which the model abstains."
LOWER = "the lower end of the range in which the model abstains."
PRESUPPOSES = "The model presupposes pneumonia and does not tell whether there is any."

CASES = {
    "negative": (
        (PNEUMONIA, 0.998, 0.002, 0.7029),
        "Signs of pneumonia: unlikely",
        f"The probability of pneumonia, 0.2 %, is below 19.8 %, {LOWER}",
    ),
    "positive": (
        (PNEUMONIA, 0.027, 0.973, 0.7029),
        "Signs of pneumonia: likely",
        f"The probability of pneumonia, 97.3 %, is at or above 70.3 %, {UPPER}",
    ),
    "positive, the threshold inside the range": (
        (PNEUMONIA, 0.027, 0.973, 0.25),
        "Signs of pneumonia: likely",
        f"The probability of pneumonia, 97.3 %, is at or above 30.2 %, {UPPER}",
    ),
    "refer": (
        (PNEUMONIA, 0.327, 0.673, 0.7029),
        ABSTAINS,
        "The probability of pneumonia, 67.3 %, lies between 19.8 % and 70.3 %, where the model "
        "abstains.",
    ),
    "refer, near the line": (
        (PNEUMONIA, 0.80244, 0.19756, 0.7029),
        ABSTAINS,
        "The probability of pneumonia, 19.76 %, lies between 19.75 % and 70.29 %, where the "
        "model abstains.",
    ),
    "etiology negative": (
        (ETIOLOGY, 0.95, 0.05, 0.6177),
        "If there is pneumonia: viral rather than bacterial",
        f"The probability of bacterial rather than viral pneumonia, 5 %, is below 22.7 %, {LOWER} "
        f"{PRESUPPOSES}",
    ),
    "etiology positive": (
        (ETIOLOGY, 0.05, 0.95, 0.6177),
        "If there is pneumonia: bacterial rather than viral",
        "The probability of bacterial rather than viral pneumonia, 95 %, is at or above 89.5 %, "
        f"{UPPER} {PRESUPPOSES}",
    ),
    "etiology refer": (
        (ETIOLOGY, 0.5, 0.5, 0.6177),
        ABSTAINS,
        "The probability of bacterial rather than viral pneumonia, 50 %, lies between 22.7 % and "
        f"89.5 %, where the model abstains. {PRESUPPOSES}",
    ),
    "ternary negative": (
        (TERNARY, 0.95, 0.03, 0.02, 0.5787),
        "Signs of pneumonia: unlikely",
        "The probability of pneumonia, 5 %, is below the threshold of 57.9 %, and what would speak "
        "against it is ruled out: bacterial, 3 %, is below 12.5 % and viral, 2 %, is below 5 %.",
    ),
    "ternary positive": (
        (TERNARY, 0.02, 0.28, 0.70, 0.5787),
        "Signs of pneumonia: likely",
        "The probability of pneumonia, 98 %, is at or above the threshold of 57.9 %, and what "
        "would speak against it is ruled out: normal, 2 %, is below 66.1 %. The most probable kind "
        "is viral, 70 %.",
    ),
    "ternary refer, a kind is left": (
        (TERNARY, 0.80, 0.05, 0.15, 0.5787),
        ABSTAINS,
        "The probability of pneumonia, 20 %, is below the threshold of 57.9 %, but the opposite is "
        "not ruled out: viral, 15 %, reaches 5 %.",
    ),
    "ternary refer, nothing is left": (
        (TERNARY, 0.66, 0.30, 0.04, 0.5787),
        ABSTAINS,
        "The probability of pneumonia, 34 %, is below the threshold of 57.9 %, but the opposite is "
        "not ruled out: bacterial, 30 %, reaches 12.5 %.",
    ),
}


@pytest.mark.parametrize(("given", "headline", "reasons"), CASES.values(), ids=CASES)
def test_headline_and_the_line_that_decided(
    given: tuple[Task, *tuple[float, ...]], headline: str, reasons: str
) -> None:
    """By finding and decision, and never a line that did not decide."""
    task, *numbers = given
    *shares, threshold = numbers
    said = in_words(task, *shares, threshold=threshold)
    assert [said[0], " ".join(said[1:])] == [headline, reasons]


@pytest.mark.parametrize(
    ("reasons", "headline"),
    [
        ((why.NOT_A_CHEST,), NO_CHEST),
        ((why.BODY_PART,), NO_CHEST),
        ((why.BLANK,), "Blank picture"),
        ((why.LATERAL,), "Not a frontal view"),
        ((why.INVERTED,), "Inverted picture"),
        ((why.TURNED[2],), "Turned picture"),
        ((why.COLOURED,), "Picture in colour"),
        ((why.UNLIKE_TRAINING,), "Unlike the pictures the model was made for"),
        ((Reason(why.UNFAMILIAR, "Not one of theirs."),), UNFAMILIAR_HEADLINE),
        ((why.BLANK, why.INVERTED), "Blank picture"),
        ((why.BLANK, why.NOT_A_CHEST), NO_CHEST),
    ],
)
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_out_of_scope_says_why_and_no_number(
    task: Task, reasons: tuple[Reason, ...], headline: str
) -> None:
    """Whatever the model made of the picture, and whatever it looks for."""
    shares = [0.01] * (len(task.classes) - 1)
    said = in_words(task, *shares, 1 - sum(shares), threshold=0.5, out=reasons)
    assert said == [headline, *(reason.text for reason in reasons)]
    assert "%" not in "".join(said)


@pytest.mark.parametrize(
    ("shares", "texts"),
    [
        ((0.973, 0.7029), ["97.3 %", "70.3 %"]),
        ((0.7, 0.7), ["70 %", "70 %"]),
        ((0.1975, 0.19754), ["19.75 %", "19.754 %"]),
        ((0.0, 1.0), ["0 %", "100 %"]),
        ((0.0004, 0.9996), ["under 0.1 %", "over 99.9 %"]),
        ((0.0004, 0.0007), ["0.04 %", "0.07 %"]),
    ],
)
def test_shares_that_differ_look_different(shares: tuple[float, ...], texts: list[str]) -> None:
    """A sentence that compares two has to show which is larger."""
    assert percents(*shares) == texts


def test_names_stand_by_themselves() -> None:
    """A kind is told with what it is a kind of."""
    names = ("PNEUMONIA", "BACTERIAL", "VIRAL", "SOMETHING_ELSE")
    said = ["pneumonia", "bacterial pneumonia", "viral pneumonia", "something else"]
    assert [words_of(name) for name in names] == said


def test_only_etiology_presupposes() -> None:
    """All its classes are kinds of one thing."""
    assert {name: task.presupposed for name, task in TASKS.items()} == {
        "pneumonia": None,
        "ternary": None,
        "etiology": "PNEUMONIA",
    }
