"""Comparison of shadows with the version in force, from a metrics page."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from service.telemetry.metrics import SHADOW_DIFFERENCE, SHADOW_DROPPED, SHADOW_IMAGES
from service.telemetry.prometheus import read_samples


@dataclass
class ShadowReport:
    """One shadow beside one version in force.

    Attributes:
        pairs: Images by the decisions of both, the one in force first.
        at_most: Cumulative images by largest difference of the probabilities.
        dropped: Images the shadow did not answer, by reason.
    """

    model: str
    version: str
    shadow: str
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)
    at_most: dict[float, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Images that both answered."""
        return sum(self.pairs.values())

    @property
    def agreeing(self) -> int:
        """Those with one decision."""
        return sum(count for pair, count in self.pairs.items() if pair[0] == pair[1])

    def render(self) -> str:
        """Give it as lines of text."""
        total = max(self.images, 1)
        lines = [
            f"{self.model}: version {self.version} in force, shadow {self.shadow}",
            f"  images compared  {self.images}",
            f"  same decision    {self.agreeing} ({self.agreeing / total:.2%})",
        ]
        lines += [f"  dropped          {n} ({why})" for why, n in sorted(self.dropped.items())]
        lines += ["", "  in force   shadow     images    share"]
        for (ours, other), count in sorted(self.pairs.items(), key=lambda one: -one[1]):
            lines.append(f"  {ours:<10} {other:<10} {count:>6}  {count / total:>7.2%}")
        lines += ["", "  probability differs by   images    share"]
        lower, before = 0.0, 0
        for bound, count in sorted(self.at_most.items()):
            if count > before:
                many = count - before
                lines.append(f"  {lower:>8g} to {bound:<8g}    {many:>6}  {many / total:>7.2%}")
            lower, before = bound, count
        return "\n".join(lines)


def read_reports(page: str) -> list[ShadowReport]:
    """Read the shadows of a metrics page."""
    reports: dict[tuple[str, str, str], ShadowReport] = {}

    def report_of(labels: dict[str, str]) -> ShadowReport:
        key = labels["model"], labels["version"], labels["shadow"]
        return reports.setdefault(key, ShadowReport(*key))

    dropped: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name, labels, value in read_samples(page):
        if name == SHADOW_IMAGES.name:
            pair = labels["decision"], labels["shadow_decision"]
            report_of(labels).pairs[pair] = int(value)
        elif name == SHADOW_DIFFERENCE.name + "_bucket":
            report_of(labels).at_most[float(labels["le"])] = int(value)
        elif name == SHADOW_DROPPED.name:
            dropped[labels["model"], labels["shadow"]][labels["reason"]] = int(value)
    for (model, shadow), reasons in dropped.items():
        own = [one for key, one in reports.items() if (key[0], key[2]) == (model, shadow)]
        for one in own or [
            reports.setdefault((model, "?", shadow), ShadowReport(model, "?", shadow))
        ]:
            one.dropped = reasons
    return list(reports.values())
