"""What each figure is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Sense = Literal["at most", "at least"]


@dataclass(frozen=True)
class Bar:
    """One figure's bar.

    Attributes:
        key: The figure, a path of keys with dots in a model's results.
        title: What it is, for people.
        sense: Whether less or more is better.
        bound: By model; ``*`` for all others. Empty: reported, held against nothing.
        unit: Of the figure; empty for ratios.
    """

    key: str
    title: str
    sense: Sense
    bound: dict[str, float]
    unit: str = ""


RESNET, CNN, ANY = "resnet18", "small_cnn", "*"

AHEAD = {ANY: 1.0}
REPLICA = "memory (PSS) of a replica, two workers, explain"
START = "start to ready, three models"

BARS = (
    Bar("ratios.rate_32", "throughput at concurrency 32, service / limit", "at least", {ANY: 0.93}),
    Bar("ratios.rate_8", "throughput at concurrency 8, service / limit", "at least", {}),
    Bar("ratios.cpu", "CPU per image, service / limit", "at most", {RESNET: 1.08, CNN: 1.15}),
    Bar("mosec.rate_8", "throughput at concurrency 8, service / mosec int8", "at least", AHEAD),
    Bar("mosec.rate_32", "throughput at concurrency 32, service / mosec int8", "at least", AHEAD),
    Bar("mosec.cpu", "CPU per image, service / mosec int8", "at most", AHEAD),
    Bar("mosec.p99_32", "p99 at concurrency 32, service / mosec int8", "at most", AHEAD),
    Bar("mosec.overload_good", "overload: good, service / mosec int8", "at least", AHEAD),
    Bar("mosec.overload_p99", "overload: p99, service / mosec int8", "at most", AHEAD),
    Bar("mosec.overload_recovery", "overload: recovery, service / mosec int8", "at most", AHEAD),
    Bar("ratios.peer_int8", "throughput / best peer, int8 ONNX", "at least", {}),
    Bar("ratios.peer_fp32", "throughput / best peer, fp32 ONNX", "at least", {}),
    Bar("ratios.overload_good", "overload: good throughput / limit", "at least", {ANY: 0.92}),
    Bar("overload.summary.p99_ms", "overload: p99 of the answered", "at most", {ANY: 200.0}, "ms"),
    Bar("overload.good_share", "overload: share answered within 1 s", "at least", {}),
    Bar("overload.told_share", "overload: share answered or refused in 1 s", "at least", {}),
    Bar("overload.summary.refused_p99_ms", "overload: p99 of refusals", "at most", {}, "ms"),
    Bar("overload.recovery_s", "overload: recovery", "at most", {ANY: 0.2}, "s"),
    Bar("ratios.lone", "lone request / decode and inference alone", "at most", {ANY: 1.2}),
    Bar("memory.off_mib", f"{REPLICA} off", "at most", {ANY: 420.0}, "MiB"),
    Bar("memory.on_mib", f"{REPLICA} ready", "at most", {ANY: 1.1e9 / 2**20}, "MiB"),
    Bar(
        "explain.beside_ratio",
        "predict p99 beside two explainers / without",
        "at most",
        {ANY: 1.15},
    ),
    Bar("explain.lone_ratio", "lone /v1/explain / lone /v1/predict", "at most", {ANY: 3.0}),
    Bar("explain.served_ratio", "Grad-CAM / served forward pass", "at most", {}),
)
"""Of each model."""

START_BARS = (
    Bar("start.off_s", f"{START}, explain off", "at most", {ANY: 3.0}, "s"),
    Bar("start.on_s", f"{START}, explain on", "at most", {ANY: 3.0}, "s"),
    Bar("start.explains_s", "start to explanations ready, three models", "at most", {}, "s"),
)
"""Of the run."""


@dataclass(frozen=True)
class Verdict:
    """A figure beside its bar.

    Attributes:
        bar: The bar.
        value: The figure; None if it was not measured.
        bound: What it is held against; None: nothing.
    """

    bar: Bar
    value: float | None
    bound: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the bar is met; None if there is nothing to compare."""
        if self.value is None or self.bound is None:
            return None
        at_most = self.bar.sense == "at most"
        return self.value <= self.bound if at_most else self.value >= self.bound


def judge(model: str, figures: dict[str, Any]) -> list[Verdict]:
    """Hold a model's figures against their bars."""
    return [_verdict(bar, figures, bar.bound.get(model, bar.bound.get(ANY))) for bar in BARS]


def judge_starts(results: dict[str, Any]) -> list[Verdict]:
    """Hold a run's starts against their bars."""
    return [_verdict(bar, results, bar.bound.get(ANY)) for bar in START_BARS]


def _verdict(bar: Bar, figures: dict[str, Any], bound: float | None) -> Verdict:
    return Verdict(bar, look_up(figures, bar.key), bound)


def look_up(figures: dict[str, Any], key: str) -> float | None:
    """Give a figure by its path, None if it is not there."""
    value: Any = figures
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value is None else float(value)
