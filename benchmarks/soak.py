"""Minutes at capacity among clients that misbehave; every answer compared with its golden."""

from __future__ import annotations

import asyncio
import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.chaos import MISBEHAVIOURS, UNREADABLE, Client, Outcome
from benchmarks.child import ROOT, MeasureError
from benchmarks.connection import Connection, Target, build_requests
from benchmarks.contest import MIB, probability_in
from benchmarks.load import get
from benchmarks.process import usage_of
from benchmarks.server import Server, service_environment
from benchmarks.tally import OK, REFUSALS

TOLERANCE = 5e-4  # goldens have four decimals; a batch of another size rounds differently
ROUGH_TOLERANCE = 2e-2  # bf16 and int8: what a batch rounds differently
SAMPLE_S = 0.5
SETTLE_S = 30.0
GROWTH = 1.05
GROWTH_BYTES = 16 * MIB  # arenas grow in steps of this order
WARM_UP_SHARE = 0.1
PAUSE_REFUSED_S = 0.1


@dataclass
class Soak:
    """What was seen.

    Attributes:
        goldens: Probability by index of the file.
        tolerance: How far an answer may be from its golden.
        counts: How often what happened.
        wrong: What must not happen, in words; the first few.
        rss_bytes: Resident memory of the server over time.
        at_end: The queues, when all clients had gone.
    """

    goldens: dict[int, float]
    tolerance: float = TOLERANCE
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    at_end: dict[str, int] = field(default_factory=dict)

    def check(self, what: str, outcome: Outcome) -> None:
        """Compare an answer with what it should be."""
        status = outcome.status
        self.counts[f"{what}: {'gone' if status is None else status}"] += 1
        if status is None or status in REFUSALS:
            return
        if outcome.file is None:
            if status not in UNREADABLE:
                self.blame(f"{what} was answered {status}")
            return
        if status != OK:
            self.blame(f"{what} of file {outcome.file} was answered {status}")
            return
        given, golden = probability_in(outcome.body.decode()), self.goldens[outcome.file]
        if not abs(given - golden) <= self.tolerance:
            self.blame(f"{what} of file {outcome.file} gave {given}, its golden is {golden}")

    def blame(self, what: str) -> None:
        """Remember something that must not happen."""
        self.counts["wrong"] += 1
        if len(self.wrong) < 20:
            self.wrong.append(what)

    @property
    def growth(self) -> tuple[float, float]:
        """Median memory of the first and of the last third, in MiB, without the warm-up."""
        samples = self.rss_bytes[int(len(self.rss_bytes) * WARM_UP_SHARE) :]
        third = max(1, len(samples) // 3)
        return median(samples[:third]) / MIB, median(samples[-third:]) / MIB

    @property
    def faults(self) -> list[str]:
        """Why it did not end clean; empty if it did."""
        faults = list(self.wrong)
        first, last = self.growth
        if last * MIB > first * MIB * GROWTH + GROWTH_BYTES:
            faults.append(f"memory grew from {first:.0f} to {last:.0f} MiB")
        faults += [f"{name} is {value} at the end" for name, value in self.at_end.items() if value]
        if not self.at_end:
            faults.append("the service did not say how long its queues are")
        if not any(name.startswith("good: 200") for name in self.counts):
            faults.append("no good request was answered")
        return faults

    def as_json(self) -> dict[str, Any]:
        """Give the result."""
        first, last = self.growth
        return {
            "clean": not self.faults,
            "faults": self.faults,
            "counts": dict(sorted(self.counts.items())),
            "rss_first_third_mib": round(first, 1),
            "rss_last_third_mib": round(last, 1),
            "at_end": self.at_end,
        }


async def soak(
    target: Target,
    pid: int,
    files: tuple[Path, ...],
    goldens: dict[int, float],
    seconds: float,
    *,
    good_clients: int = 16,
    bad_clients: int = 6,
    tolerance: float = TOLERANCE,
) -> Soak:
    """Keep a running service at capacity among misbehaving clients.

    Args:
        target: Where predictions go.
        pid: The server's process.
        files: To send.
        goldens: Probability by index of the file.
        seconds: How long.
        good_clients: Clients that send whole files and wait.
        bad_clients: Clients that do one random misbehaviour after another.
        tolerance: How far an answer may be from its golden.
    """
    seen = Soak(goldens, tolerance)
    requests = build_requests(target, files)
    bodies = [path.read_bytes() for path in files]
    end_s = time.monotonic() + seconds

    async def good(number: int) -> None:
        connection: Connection | None = None
        while time.monotonic() < end_s:
            file = number % len(files)
            number += good_clients
            try:
                if connection is None or connection.is_closed:
                    connection = await Connection.open(target)
                answer = await connection.exchange(requests[file])
            except OSError as error:
                seen.blame(f"a good request ended with {type(error).__name__}")
                connection = None
                continue
            seen.check("good", Outcome(answer.status, answer.body, file))
            if answer.status in REFUSALS:
                await asyncio.sleep(PAUSE_REFUSED_S)
        if connection is not None:
            connection.close()

    async def bad(number: int) -> None:
        client = Client(target, bodies, random.Random(number))  # noqa: S311 - no secret
        while time.monotonic() < end_s:
            misbehave = client.chance.choice(MISBEHAVIOURS)
            name = getattr(misbehave, "__name__", "misbehaviour")
            try:
                seen.check(name, await misbehave(client))
            except OSError as error:
                # A server may hang up on a body it has refused before all of it was sent.
                seen.counts[f"{name}: {type(error).__name__}"] += 1
            await asyncio.sleep(client.chance.uniform(0, 0.05))

    async def watch() -> None:
        while time.monotonic() < end_s:
            seen.rss_bytes.append(usage_of(pid).rss_bytes)
            await asyncio.sleep(min(SAMPLE_S, seconds / 10))

    await asyncio.gather(watch(), *map(good, range(good_clients)), *map(bad, range(bad_clients)))
    seen.at_end = await settle(Target(target.host, target.port, "/health"))
    return seen


async def settle(health: Target) -> dict[str, int]:
    """Wait until nothing waits or is at work in the service, and give what is left of it."""
    left: dict[str, int] = {}
    end_s = time.monotonic() + SETTLE_S
    while time.monotonic() < end_s:
        try:
            answer = json.loads((await get(health)).body)
        except (OSError, ValueError):
            left = {}
        else:
            left = {"active_requests": int(answer["active_requests"])} | {
                f"queue_depth of {one['name']}": int(one["queue_depth"]) for one in answer["models"]
            }
            if not any(left.values()):
                break
        await asyncio.sleep(0.2)
    return left


def compute_goldens(
    files: tuple[Path, ...], bundles: Path, model: str, settings: Mapping[str, str]
) -> dict[int, float]:
    """Give each file's probability as ``python -m service predict`` gives it, without a server.

    Raises:
        MeasureError: It failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "goldens.csv"
        options = ("--bundles", str(bundles), "--model", model, "--out", str(table))
        finished = subprocess.run(
            [sys.executable, "-m", "service", "predict", *map(str, files), *options],
            cwd=ROOT,
            env=service_environment(settings),
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            raise MeasureError(f"the goldens cannot be computed: {finished.stderr[-500:]}")
        with table.open(newline="", encoding="utf-8") as rows:
            return {i: float(row["probability"]) for i, row in enumerate(csv.DictReader(rows))}


async def soak_server(
    server: Server, files: tuple[Path, ...], goldens: dict[int, float], seconds: float, rough: bool
) -> Soak:
    """Soak a server that was started here."""
    tolerance = ROUGH_TOLERANCE if rough else TOLERANCE
    return await soak(
        server.target, server.process.pid, files, goldens, seconds, tolerance=tolerance
    )
