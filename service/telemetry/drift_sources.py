"""Where answers are counted from: metrics pages, or canonical log lines."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from cxr.bundles.reference import BIN_EDGES, BINS
from service.telemetry.drift import OUT_OF_SCOPE

_SAMPLE = re.compile(r"(?P<name>cxr_[a-z_]+)\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_AGE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass
class Tally:
    """Answers of one model.

    Attributes:
        version: Of the model; empty if the source does not tell, or tells of several.
        bins: Images by bin of their probability.
        decisions: Images by decision, and ``out-of-scope``.
    """

    version: str = ""
    bins: list[int] = field(default_factory=lambda: [0] * BINS)
    decisions: Counter[str] = field(default_factory=Counter)

    @property
    def images(self) -> int:
        """How many."""
        return sum(self.bins)


def parse_since(text: str, now: datetime) -> datetime:
    """Read a moment: ISO 8601, or an age such as ``15m``, ``24h`` or ``7d``.

    Raises:
        ValueError: Neither.
    """
    age = _AGE.fullmatch(text)
    if age is not None:
        return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def tally_log(lines: Iterable[str], since: datetime | None = None) -> dict[tuple[str, str], Tally]:
    """Count the answers of canonical log lines; lines of another kind are passed over.

    Args:
        lines: One JSON object each; whatever a container runtime puts before it is skipped.
        since: Older ones are passed over.

    Returns:
        By name and version of the model.
    """
    tallies: dict[tuple[str, str], Tally] = {}
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
    """Count the answers a metrics page tells of, since its process began; by name of the model."""
    tallies: dict[str, Tally] = {}
    cumulative: dict[str, dict[float, int]] = {}
    for sample in map(_SAMPLE.fullmatch, page.splitlines()):
        if sample is None:
            continue
        labels, value = dict(_LABEL.findall(sample["labels"])), float(sample["value"])
        name, model = sample["name"], labels.get("model", "")
        if name == "cxr_probability_bucket" and labels["le"] != "+Inf":
            cumulative.setdefault(model, {})[float(labels["le"])] = int(value)
        elif name == "cxr_images_total":
            tallies.setdefault(model, Tally()).decisions[labels["decision"]] += int(value)
        elif name == "cxr_out_of_scope_total":
            tallies.setdefault(model, Tally()).decisions[OUT_OF_SCOPE] += int(value)
        elif name == "cxr_bundle_info":
            tallies.setdefault(model, Tally()).version = labels["version"]
    for model, counts in cumulative.items():
        below = [0, *(counts.get(edge, 0) for edge in BIN_EDGES)]
        bins = [high - low for low, high in pairwise(below)]
        tallies.setdefault(model, Tally()).bins = bins
    return {model: tally for model, tally in tallies.items() if tally.images}


def difference(after: Tally, before: Tally) -> Tally:
    """Give what came between two scrapes of one process; all of the later if it was restarted."""
    bins = [a - b for a, b in zip(after.bins, before.bins, strict=True)]
    if min(bins) < 0:
        return after
    return Tally(after.version, bins, after.decisions - before.decisions)


def add(one: Tally, other: Tally) -> Tally:
    """Give the answers of both."""
    version = one.version if one.version == other.version else ""
    bins = [a + b for a, b in zip(one.bins, other.bins, strict=True)]
    return Tally(version, bins, one.decisions + other.decisions)
