"""How many replicas: a simulation from measured service times, checked against measurements.

A replica with one core is measured alone, one image at a time: these times are all the simulation
is given. What it then says of one and of two replicas under load is compared with what one and two
replicas do, and only what it says of more is prediction.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import MeasureError
from benchmarks.contest import RAMP_SHARE, run_load
from benchmarks.files import Files
from benchmarks.load import CLOSED, OPEN, Plan, random_moments
from benchmarks.machine import describe_machine
from benchmarks.nginx import NEVER, Nginx
from benchmarks.process import cpu_s_of
from benchmarks.queueing import (
    Autoscaler,
    Balancing,
    Device,
    Outcome,
    Replica,
    replicas_needed,
    simulate_closed,
    simulate_open,
    simulate_window,
)
from benchmarks.server import Server, service_environment
from benchmarks.tally import OK, summarise
from service.settings import Settings

DRAWS = 20

RATES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
TARGETS_MS = (100, 200)
BOUNDS_MS = (10, 25, 50, 100, 150, 300, 1000)
WINDOWS_MS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)
DEVICE = Device(fixed_s=0.002, image_s=0.0003)
"""An assumed device, not a measured one: the effect of a window depends on it only in size."""

CLIENTS = 4
"""Of each replica, in a closed loop: it is never idle, and none is refused."""

LOADS = (0.4, 0.7)
"""Shares of the simulated capacity that are sent at random moments."""

BURST_FROM_S, BURST_TO_S, BURST_SECONDS = 120.0, 420.0, 900.0
BURST_REPLICAS, BURST_LEAST_LOAD, BURST_FACTOR = 4, 0.5, 4.0
STARTS_S = (5.0, 10.0, 30.0, 90.0)


def measure(bundles: Path, model: str, files: Files, seconds: float) -> dict[str, Any]:
    """Measure one replica alone, then one and two replicas under load, a core each.

    Raises:
        MeasureError: There are fewer than two cores, or no nginx.
    """
    replicas: list[Server] = []
    measured: dict[str, Any] = {"checks": []}
    with tempfile.TemporaryDirectory() as folder:
        try:
            replicas.append(_start(bundles, model, files, core=0))
            lone = _send(replicas, Path(folder), files, Load(CLOSED, 1.0), seconds)
            measured["service_ms"] = lone.pop("latencies_ms")
            measured["start_s"] = replicas[0].start_s
            replica = _replica_of(measured)
            for count in (1, 2):
                while len(replicas) < count:
                    replicas.append(_start(bundles, model, files, core=len(replicas)))
                loads = [Load(CLOSED, CLIENTS * count)]
                loads += [Load(OPEN, share * count * replica.capacity_per_s) for share in LOADS]
                for load in loads:
                    seen = _send(replicas, Path(folder), files, load, seconds)
                    del seen["latencies_ms"]
                    measured["checks"].append({"replicas": count, **asdict(load), **seen})
        finally:
            for one in replicas:
                one.stop()
    return measured


@dataclass(frozen=True)
class Load:
    """What is sent.

    Attributes:
        mode: Closed or open loop.
        amount: Clients, or requests per second.
    """

    mode: str
    amount: float


def _start(bundles: Path, model: str, files: Files, core: int) -> Server:
    taskset = shutil.which("taskset")
    if taskset is None:
        raise MeasureError("taskset is not installed: a replica cannot be given one core")
    serve = [sys.executable, "-m", "service", "serve", "--port", "{port}"]
    environment = service_environment({"CXR_EXPLAIN": "off", "CXR_PROVIDER": "cpu"})
    return Server(
        f"replica {core}",
        [taskset, "-c", str(core), *serve, "--bundles", str(bundles)],
        environment | {"CXR_MODELS": model, "CXR_WORKERS": "1", "CXR_DICOM_RESULTS": "off"},
        target_path="/v1/predict",
        ready_path="/health/ready",
        sample=files.typical.read_bytes(),
    )


def _send(
    replicas: Sequence[Server], folder: Path, files: Files, load: Load, seconds: float
) -> dict[str, Any]:
    """Put a load on replicas: straight on one, through nginx on several."""
    paths = tuple(map(str, files.paths))
    if len(replicas) == 1:
        return _load_on(replicas, replicas[0].target.port, paths, load, seconds)
    with Nginx(folder, [one.target for one in replicas], NEVER) as nginx:
        return _load_on(replicas, nginx.target.port, paths, load, seconds)


def _load_on(
    replicas: Sequence[Server], port: int, files: tuple[str, ...], load: Load, seconds: float
) -> dict[str, Any]:
    target = replicas[0].target
    is_closed = load.mode == CLOSED
    plan = Plan(
        target.host,
        port,
        target.path,
        files,
        mode=load.mode,
        seconds=seconds,
        ramp_s=RAMP_SHARE * seconds if is_closed else 0.0,
        concurrency=round(load.amount) if is_closed else 1,
        rate=load.amount,
    )
    before_s = sum(cpu_s_of(one.process.pid) for one in replicas)
    loaded = run_load(plan, replicas[0].process.pid)
    spent_s = sum(cpu_s_of(one.process.pid) for one in replicas) - before_s
    records = loaded.phases["during"]
    summary = summarise(records, seconds)
    return {
        "per_s": summary["per_s"],
        "p50_ms": summary["p50_ms"],
        "p99_ms": summary["p99_ms"],
        "refused_share": summary["refused"] / max(1, summary["requests"]),
        "lost": summary["dropped"] + summary["timed_out"] + summary["failed"],
        "cores": spent_s / loaded.wall_s,
        "generator_cores": loaded.generator_cpu_s / loaded.wall_s,
        "latencies_ms": [
            round(one.latency_s * 1000, 3)
            for one in records
            if one.status == OK and one.begun_s >= 0
        ],
    }


def _replica_of(measured: Mapping[str, Any], *, max_wait_ms: float | None = None) -> Replica:
    wait_ms = Settings.model_fields["max_wait_ms"].default if max_wait_ms is None else max_wait_ms
    return Replica(tuple(ms / 1000 for ms in measured["service_ms"]), max_wait_s=wait_ms / 1000)


def _figures(outcome: Outcome, seconds: float) -> dict[str, float]:
    return {
        "per_s": sum(at_s + taken_s <= seconds for at_s, taken_s in outcome.latencies_s) / seconds,
        "p50_ms": outcome.percentile_s(0.5) * 1000,
        "p99_ms": outcome.percentile_s(0.99) * 1000,
        "refused_share": outcome.refused_share,
    }


def check(measured: Mapping[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Put what the simulation says beside each measurement, over as many seconds.

    In an open loop requests come at the very moments at which the load generator sent them; only
    how long each takes is drawn anew, many times.
    """
    replica = _replica_of(measured)
    checks = []
    for seen in measured["checks"]:
        count, amount = seen["replicas"], seen["amount"]
        pooled = Outcome()
        for seed in range(DRAWS):
            if seen["mode"] == CLOSED:
                one = simulate_closed(replica, count, round(amount), seconds, seed=seed)
            else:
                moments_s = random_moments(amount, seconds)
                one = simulate_open(replica, count, amount, seconds, moments_s=moments_s, seed=seed)
            pooled.latencies_s += one.latencies_s
            pooled.refused_at_s += one.refused_at_s
        simulated = _figures(pooled, seconds)
        simulated["per_s"] /= DRAWS
        checks.append({"measured": seen, "simulated": simulated})
    return checks


def simulate(measured: Mapping[str, Any]) -> dict[str, Any]:
    """Say what more replicas would do."""
    replica = _replica_of(measured)
    return {
        "mean_ms": replica.mean_s * 1000,
        "capacity_per_s": replica.capacity_per_s,
        "needed": _needed(replica),
        "bounds": _bounds(measured),
        "windows": _windows(),
        "bursts": _bursts(replica),
    }


def _needed(replica: Replica) -> list[dict[str, Any]]:
    kinds: tuple[Balancing, ...] = ("least", "random")
    rows = []
    for rate in RATES:
        for target_ms in TARGETS_MS:
            row: dict[str, Any] = {"per_s": rate, "p99_ms": target_ms}
            for kind in kinds:
                try:
                    row[kind] = replicas_needed(replica, rate, target_ms / 1000, balancing=kind)
                except ValueError:
                    row[kind] = None
            rows.append(row)
    return rows


def _bounds(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give what the bound of the wait does to four replicas, nearly full and overloaded."""
    rows = []
    for bound_ms in BOUNDS_MS:
        replica = _replica_of(measured, max_wait_ms=bound_ms)
        for load in (0.9, 1.5):
            rate = 4 * load * replica.capacity_per_s
            outcome = simulate_open(replica, 4, rate, 120.0)
            rows.append({"max_wait_ms": bound_ms, "load": load, **_figures(outcome, 120.0)})
    return rows


def _windows() -> list[dict[str, Any]]:
    """Give what the batch window does to an assumed device, from idle to full."""
    full_per_s = DEVICE.max_batch / (DEVICE.fixed_s + DEVICE.max_batch * DEVICE.image_s)
    rows = []
    for load in (0.1, 0.3, 0.8):
        for window_ms in WINDOWS_MS:
            p50_s, p99_s, batch = simulate_window(DEVICE, load * full_per_s, window_ms / 1000)
            row = {"load": load, "window_ms": window_ms, "images_per_run": batch}
            rows.append(row | {"p50_ms": p50_s * 1000, "p99_ms": p99_s * 1000})
    return rows


def _bursts(replica: Replica) -> list[dict[str, Any]]:
    """Give what an autoscaler makes of four times the load, by how long a replica takes to start.

    It steers to one image under way for each core, which is half of what can wait on none.
    """
    low = BURST_LEAST_LOAD * BURST_REPLICAS * replica.capacity_per_s

    def rate(now_s: float) -> float:
        return BURST_FACTOR * low if BURST_FROM_S <= now_s < BURST_TO_S else low

    rows = []
    for start_s in STARTS_S:
        scaler = Autoscaler(target=1.0, least=BURST_REPLICAS, most=40, start_s=start_s)
        outcome = simulate_open(
            replica,
            BURST_REPLICAS,
            BURST_FACTOR * low,
            BURST_SECONDS,
            rate=rate,
            autoscaler=scaler,
        )
        late = [at_s for at_s in outcome.refused_at_s if at_s < BURST_TO_S]
        rows.append(
            {
                "start_s": start_s,
                "refused_share": outcome.refused_share,
                "refused": len(outcome.refused_at_s),
                "refused_until_s": max(late, default=BURST_FROM_S) - BURST_FROM_S,
                "most_replicas": max(count for _, count in outcome.replicas),
                "replicas": outcome.replicas,
                "refused_at_s": [round(at_s) for at_s in outcome.refused_at_s],
            }
        )
    return rows


def run(bundles: Path, model: str, files: Files, seconds: float) -> dict[str, Any]:
    """Measure, and give it as JSON with where and when."""
    return {
        "kind": "fleet",
        "machine": describe_machine(),
        "model": model,
        "files": files.kind,
        "seconds": seconds,
        "measured": measure(bundles, model, files, seconds),
    }


def complete(found: dict[str, Any]) -> dict[str, Any]:
    """Add to a measurement what the simulation says."""
    measured = found["measured"]
    return found | {
        "checks": check(measured, found["seconds"]),
        "simulated": simulate(measured),
    }
