"""A verdict in words, the same on the page, in JSON, in reports and under pictures.

A sentence names the line that decided, which is seldom the threshold alone: at the operating
point, the model abstains around it (:mod:`cxr.verdict.referral`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cxr.data.labels import Task
from cxr.verdict import scope, scope_gate
from cxr.verdict.decision import OperatingPoint
from cxr.verdict.referral import ReferBand, Referral
from cxr.verdict.verdict import Verdict
from cxr.verdict.words import listed, percents, short_words_of, words_of

ABSTAINS = "No answer: a person has to look"
NO_CHEST = "Not a chest radiograph"

OUT_OF_SCOPE: Mapping[str, str] = {
    scope.BLANK: "Blank picture",
    scope.COLOURED: "Picture in colour",
    scope_gate.INVERTED: "Inverted picture",
    **dict.fromkeys(scope_gate.TURNED.values(), "Turned picture"),
    scope.LATERAL: "Not a frontal view",
    # Its layout is a chest's: a healthy one's, say, for a model that has seen sick ones only.
    scope_gate.UNLIKE_TRAINING: "Unlike the pictures the model was made for",
}
"""Headlines by the reason; of every other reason it is ``NO_CHEST``."""


@dataclass(frozen=True)
class Conclusion:
    """What is said about one image.

    Attributes:
        headline: A few words, without a full stop.
        subject: What the probability is of.
        reasons: Sentences that say why, the line that decided among them.
    """

    headline: str
    subject: str
    reasons: tuple[str, ...]


def conclude(
    verdict: Verdict,
    task: Task,
    by_class: Mapping[str, float],
    point: OperatingPoint,
    referral: Referral,
) -> Conclusion:
    """Put a verdict into words.

    Args:
        verdict: What was decided.
        task: The model's question.
        by_class: Calibrated probability of every class.
        point: The operating point in force.
        referral: When the model abstains.
    """
    subject = _subject(task)
    if verdict.reasons:
        return Conclusion(_out_of_scope(verdict.reasons), subject, verdict.reasons)
    band = referral.band(point, task.positive)
    if band is not None:
        line = _of_two(verdict, task, band)
    else:
        line = _of_many(verdict, task, by_class, point, referral)
    return Conclusion(_headline(verdict, task), subject, (line, *_remarks(verdict, task, by_class)))


def _out_of_scope(reasons: Iterable[str]) -> str:
    headlines = [OUT_OF_SCOPE.get(reason, NO_CHEST) for reason in reasons]
    return NO_CHEST if NO_CHEST in headlines else headlines[0]


def _headline(verdict: Verdict, task: Task) -> str:
    if verdict.label is None:
        return ABSTAINS
    if task.presupposed is not None:
        return f"If there is {words_of(task.presupposed)}: {_rather(verdict.label, task)}"
    likely = "likely" if verdict.decision == "positive" else "unlikely"
    return f"Signs of {words_of(task.positive)}: {likely}"


def _rather(name: str, task: Task) -> str:
    """Return ``bacterial rather than viral``."""
    others = [short_words_of(other) for other in task.classes if other != name]
    return f"{short_words_of(name)} rather than {listed(others, 'or')}"


def _remarks(verdict: Verdict, task: Task, by_class: Mapping[str, float]) -> Iterable[str]:
    if task.presupposed is not None:
        whole = words_of(task.presupposed)
        yield f"The model presupposes {whole} and does not tell whether there is any."
    if verdict.decision == "positive" and verdict.label not in (None, task.positive):
        [share] = percents(by_class[verdict.label])
        yield f"The most probable kind is {short_words_of(verdict.label)}, {share}."


def _subject(task: Task) -> str:
    if task.presupposed is None:
        return words_of(task.positive)
    return f"{_rather(task.positive, task)} {words_of(task.presupposed)}"


def _of_two(verdict: Verdict, task: Task, band: ReferBand) -> str:
    """Name the line for a model of two classes: an end of the band in which it abstains."""
    value, low, high = percents(verdict.probability, band.low, band.high)
    subject, has_band = f"The probability of {_subject(task)}, {value},", band.low < band.high
    if verdict.decision == "refer":
        where = f"between {low} and {high}" if has_band else f"at {low}, the line itself"
        return f"{subject} lies {where}, where the model abstains."
    if verdict.decision == "positive":
        relation, line, end = "at or above", high, "upper"
    else:
        below = "below" if verdict.probability < band.low else "not above"
        relation, line, end = below, low, "lower"
    kind = f"{end} end of the range in which the model abstains" if has_band else "threshold"
    return f"{subject} is {relation} {line}, the {kind}."


def _of_many(
    verdict: Verdict,
    task: Task,
    by_class: Mapping[str, float],
    point: OperatingPoint,
    referral: Referral,
) -> str:
    """Name the lines for a model of more classes: the threshold, and each class's own."""

    def lines(names: Iterable[str]) -> str:
        return listed([_line(name, by_class[name], referral) for name in names])

    value, threshold = percents(verdict.probability, point.threshold)
    reached = verdict.probability >= point.threshold
    side = "at or above" if reached else "below"
    against = task.negative_classes if reached else task.positive_classes
    text = f"The probability of {_subject(task)}, {value}, is {side} the threshold of {threshold}"
    if verdict.decision != "refer":
        return f"{text}, and what would speak against it is ruled out: {lines(against)}."
    if not verdict.prediction_set:
        return f"{text}, but no class is credible: {lines(task.classes)}."
    left = [name for name in verdict.prediction_set if name in against]
    return f"{text}, but the opposite is not ruled out: {lines(left)}."


def _line(name: str, share: float, referral: Referral) -> str:
    value, least = percents(share, referral.least_probability[name])
    relation = "reaches" if share >= referral.least_probability[name] else "is below"
    return f"{short_words_of(name)}, {value}, {relation} {least}"
