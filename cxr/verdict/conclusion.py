"""A verdict in words, the same wherever it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from cxr.data.labels import KINDS, Task
from cxr.verdict import reasons as why
from cxr.verdict.decision import Referral, Verdict
from cxr.verdict.operating_point import OperatingPoint, ReferBand

ABSTAINS = "No answer: a person has to look"
NO_CHEST = "Not a chest radiograph"

OUT_OF_SCOPE: Mapping[str, str] = {
    why.BLANK.code: "Blank picture",
    why.COLOURED.code: "Picture in colour",
    why.INVERTED.code: "Inverted picture",
    why.TURNED[1].code: "Turned picture",
    why.LATERAL.code: "Not a frontal view",
    # Its layout is a chest's: a healthy one's, say, for a model that has seen sick ones only.
    why.UNLIKE_TRAINING.code: "Unlike the pictures the model was made for",
    why.UNFAMILIAR: "No answer: not a patient like those the model was validated on",
}
"""Headlines by the code of the reason; every other one has ``NO_CHEST``."""

MOST_DECIMALS = 6


@dataclass(frozen=True)
class Conclusion:
    """What is said about one image.

    Attributes:
        headline: A few words, without a full stop.
        subject: What the probability is of.
        reasons: Sentences that say why, with the line that decided.
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

    A sentence names the line that decided: seldom the threshold, for the model abstains around it.
    """
    subject, label = _subject(task), verdict.label
    if verdict.reasons:
        headlines = [OUT_OF_SCOPE.get(reason.code, NO_CHEST) for reason in verdict.reasons]
        headline = NO_CHEST if NO_CHEST in headlines else headlines[0]
        return Conclusion(headline, subject, tuple(reason.text for reason in verdict.reasons))
    band = referral.band(point, task.positive)
    if band is not None:
        reasons = [_of_two(verdict, subject, band)]
    else:
        reasons = [_of_many(verdict, task, by_class, point, referral)]
    if task.presupposed is not None:
        whole = words_of(task.presupposed)
        reasons.append(f"The model presupposes {whole} and does not tell whether there is any.")
    if verdict.decision == "positive" and label is not None and label != task.positive:
        [share] = percents(by_class[label])
        reasons.append(f"The most probable kind is {short_words_of(label)}, {share}.")
    if label is None:
        headline = ABSTAINS
    elif task.presupposed is not None:
        headline = f"If there is {words_of(task.presupposed)}: {_rather(label, task)}"
    else:
        likely = "likely" if verdict.decision == "positive" else "unlikely"
        headline = f"Signs of {subject}: {likely}"
    return Conclusion(headline, subject, tuple(reasons))


def _rather(name: str, task: Task) -> str:
    others = [short_words_of(other) for other in task.classes if other != name]
    return f"{short_words_of(name)} rather than {listed(others, 'or')}"


@cache
def _subject(task: Task) -> str:
    if task.presupposed is None:
        return words_of(task.positive)
    return f"{_rather(task.positive, task)} {words_of(task.presupposed)}"


def _of_two(verdict: Verdict, subject: str, band: ReferBand) -> str:
    value, low, high = percents(verdict.probability, band.low, band.high)
    text, has_band = f"The probability of {subject}, {value},", band.low < band.high
    if verdict.decision == "refer":
        where = f"between {low} and {high}" if has_band else f"at {low}, the line itself"
        return f"{text} lies {where}, where the model abstains."
    if verdict.decision == "positive":
        relation, line, end = "at or above", high, "upper"
    else:
        below = "below" if verdict.probability < band.low else "not above"
        relation, line, end = below, low, "lower"
    kind = f"{end} end of the range in which the model abstains" if has_band else "threshold"
    return f"{text} is {relation} {line}, the {kind}."


def _of_many(
    verdict: Verdict,
    task: Task,
    by_class: Mapping[str, float],
    point: OperatingPoint,
    referral: Referral,
) -> str:
    def lines(names: Iterable[str]) -> str:
        parts = []
        for name in names:
            share, line = by_class[name], referral.least_probability[name]
            value, least = percents(share, line)
            relation = "reaches" if share >= line else "is below"
            parts.append(f"{short_words_of(name)}, {value}, {relation} {least}")
        return listed(parts)

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


def words_of(name: str) -> str:
    """Return a class in words: ``bacterial pneumonia`` for BACTERIAL."""
    own = short_words_of(name)
    return f"{own} {short_words_of(KINDS[name])}" if name in KINDS else own


def short_words_of(name: str) -> str:
    """Return a name in lower case, without its kind."""
    return name.lower().replace("_", " ")


def listed(parts: Sequence[str], last: str = "and") -> str:
    """Join parts to ``a, b and c``."""
    *others, final = parts
    return f"{', '.join(others)} {last} {final}" if others else final


def percents(*shares: float) -> list[str]:
    """Write shares in [0, 1] in percent, for one sentence.

    Each has one decimal, or as many as tell different shares apart.
    """
    texts: list[str] = []
    for decimals in range(1, MOST_DECIMALS + 1):
        texts = [_percent(share, decimals) for share in shares]
        if len(set(texts)) == len(set(shares)):
            break
    return texts


def _percent(share: float, decimals: int) -> str:
    value, least = share * 100, 10.0**-decimals
    if 0 < value < least:
        return f"under {least:.{decimals}f} %"
    if 100 - least < value < 100:
        return f"over {100 - least:.{decimals}f} %"
    text = f"{value:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.')} %"
