"""Count answers by model, from metrics pages or canonical log lines."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeAlias

from cxr.bundles.reference import BIN_EDGES, BINS
from service.telemetry.drift import OUT_OF_SCOPE
from service.telemetry.prometheus import read_samples

Key: TypeAlias = tuple[str, str]
"""Name and version of a model."""

_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass
class Tally:
    """Answers of one model, by bin of their probability and by decision or ``out-of-scope``."""

    version: str = ""
    bins: list[int] = field(default_factory=lambda: [0] * BINS)
    decisions: Counter[str] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.bins)


def parse_since(text: str, now: datetime) -> datetime:
    """Read ISO 8601, or an age such as ``15m``, ``24h`` or ``7d``; raise ValueError."""
    age = _AGE.fullmatch(text)
    if age is not None:
        return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def tally_log(lines: Iterable[str], since: datetime | None = None) -> dict[Key, Tally]:
    """Count the answers of canonical log lines (JSON, perhaps prefixed); skip others."""
    tallies: dict[Key, Tally] = {}
    for line in _objects(lines):
        if line.get("event") != "request" or not line.get("probability_bins"):
            continue
        if since is not None and datetime.fromisoformat(line["time"]) < since:
            continue
        key = str(line["model"]), str(line["model_version"])
        tally = tallies.setdefault(key, Tally(key[1]))
        for number in line["probability_bins"]:
            tally.bins[number] += 1
        tally.decisions.update(line.get("decisions", {}))
        tally.decisions[OUT_OF_SCOPE] += line.get("out_of_scope", 0)
    return tallies


def _objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        start = line.find("{")
        try:
            found = json.loads(line[start:]) if start >= 0 else None
        except ValueError:  # cut off by a rotation, or no line of ours
            continue
        if isinstance(found, dict):
            yield found


def tally_metrics(page: str) -> dict[str, Tally]:
    """Count the answers on a metrics page by model.

    Raises:
        KeyError: A label is missing.
        ValueError: It is not in Prometheus's text format.
        OverflowError: A value is infinite.
    """
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    cumulative: defaultdict[str, dict[float, int]] = defaultdict(dict)
    for name, labels, value in read_samples(page):
        model = labels.get("model", "")
        if name == "cxr_probability_bucket":
            cumulative[model][float(labels["le"])] = int(value)
        elif name == "cxr_images_total":
            tallies[model].decisions[labels["decision"]] += int(value)
        elif name == "cxr_out_of_scope_total":
            tallies[model].decisions[OUT_OF_SCOPE] += int(value)
        elif name == "cxr_bundle_info":
            tallies[model].version = labels["version"]
    for model, counts in cumulative.items():
        below = [0, *(counts.get(edge, 0) for edge in BIN_EDGES)]
        tallies[model].bins = [high - low for low, high in pairwise(below)]
    return {model: tally for model, tally in tallies.items() if tally.images}


def subtract(after: dict[str, Tally], before: dict[str, Tally]) -> dict[str, Tally]:
    """Return what one process answered between scrapes; all of ``after`` if it restarted."""
    return {model: difference(tally, before.get(model, Tally())) for model, tally in after.items()}


def difference(after: Tally, before: Tally) -> Tally:
    """Return the same for one model."""
    bins = [a - b for a, b in zip(after.bins, before.bins, strict=True)]
    if min(bins) < 0:
        return after
    return Tally(after.version, bins, after.decisions - before.decisions)


def add_up(pages: Iterable[dict[str, Tally]]) -> dict[Key, Tally]:
    """Add up the pages of several processes."""
    total: dict[Key, Tally] = {}
    for page in pages:
        for model, tally in page.items():
            one = total.setdefault((model, tally.version), Tally(tally.version))
            one.bins = [a + b for a, b in zip(one.bins, tally.bins, strict=True)]
            one.decisions += tally.decisions
    return {key: tally for key, tally in total.items() if tally.images}
