"""What is measured against each other: the limit, the service, the peers, one after another.

Each gives the same figures of the same files, and the CPU seconds of its whole process tree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from benchmarks.child import Child, MeasureError
from benchmarks.limit import LimitPlan
from benchmarks.load import Plan
from benchmarks.process import cpu_s_of, usage_of
from benchmarks.server import Server, service_environment
from benchmarks.tally import OK, Record, Summary, percentile, summarise

MIB = 1024 * 1024
RAMP_SHARE = 0.2  # of the measured time, before it


class Figures(TypedDict):
    """What one measurement gave."""

    per_s: float
    cpu_s_per_1000: float
    cores: float
    rss_mib: float
    pss_mib: float
    generator_cores: float
    summary: Summary
    probabilities: dict[int, float]


@dataclass(frozen=True)
class Way:
    """How the limit shares the cores.

    Attributes:
        processes: Processes side by side.
        threads: Threads of each.
        batch: Images of one run.
    """

    processes: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.processes} processes x {self.threads} threads, batches of {self.batch}"


def ways(cores: int) -> list[Way]:
    """Give the ways worth trying on so many cores."""
    return [
        Way(processes, threads, batch)
        for processes, threads in dict.fromkeys([(1, cores), (cores, 1)])
        for batch in (1, 8)
    ]


class LimitFigures(TypedDict):
    """What the limit gave."""

    per_s: float
    cpu_s_per_1000: float
    rss_mib: float
    taken_p50_ms: float
    probabilities: dict[int, float]


def measure_limit(plan: LimitPlan, processes: int, settings: Mapping[str, str]) -> LimitFigures:
    """Run the limit in so many processes and give its figures together.

    Args:
        plan: Of each process; each begins at a file of its own.
        processes: How many.
        settings: CXR_* variables.
    """
    env = service_environment(settings) | {"OMP_NUM_THREADS": "1"}
    stride = len(plan.files) // processes
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                Child("benchmarks.limit", replace(plan, first=i * stride).as_json(), env)
            )
            for i in range(processes)
        ]
        for child in children:
            child.wait_ready()
        pids = [child.process.pid for child in children]
        before = sum(map(cpu_s_of, pids))
        for child in children:
            child.go()
        results = [child.read() for child in children]
        # They wait to be closed, so their time can still be read.
        cpu_s = sum(map(cpu_s_of, pids)) - before
        rss = sum(usage_of(pid).rss_bytes for pid in pids)
    images = sum(result["images"] for result in results)
    taken = [ms for result in results for ms in result["taken_ms"]]
    return {
        "per_s": sum(result["images"] / result["seconds"] for result in results),
        "cpu_s_per_1000": cpu_s / images * 1000,
        "rss_mib": rss / MIB,
        "taken_p50_ms": median(taken),
        "probabilities": {
            int(k): v for result in results for k, v in result["probabilities"].items()
        },
    }


@dataclass(frozen=True)
class Loaded:
    """What a server did under a load.

    Attributes:
        phases: Records by phase.
        cpu_s: CPU seconds of its process tree.
        generator_cpu_s: CPU seconds of the load generator.
        wall_s: How long all phases took.
        answers: The first body per file.
    """

    phases: dict[str, list[Record]]
    cpu_s: float
    generator_cpu_s: float
    wall_s: float
    answers: dict[int, str]


def run_load(plan: Plan, pid: int) -> Loaded:
    """Run the load generator against the server with this process id."""
    with Child("benchmarks.load", plan.as_json()) as child:
        child.wait_ready()
        before = cpu_s_of(pid)
        child.go()
        result = child.read()
        cpu_s = cpu_s_of(pid) - before
    return Loaded(
        {name: [Record(*one) for one in records] for name, records in result["phases"].items()},
        cpu_s,
        result["cpu_s"],
        result["wall_s"],
        {int(file): body for file, body in result["answers"].items()},
    )


def plan_for(server: Server, files: tuple[Path, ...], **choices: Any) -> Plan:
    """Give the plan of a load on a server."""
    target = server.target
    place = {"path": target.path} | choices
    return Plan(target.host, target.port, files=tuple(map(str, files)), **place)


def measure_server(
    server: Server, files: tuple[Path, ...], concurrency: int, seconds: float
) -> Figures:
    """Put a closed loop on a server.

    Raises:
        MeasureError: It answered nothing in that time.
    """
    plan = plan_for(
        server, files, concurrency=concurrency, seconds=seconds, ramp_s=RAMP_SHARE * seconds
    )
    loaded = run_load(plan, server.process.pid)
    summary = summarise(loaded.phases["during"], seconds)
    if not summary["per_s"]:  # a large batch of a slow model may take longer than the window
        raise MeasureError(
            f"{server.name} answered nothing within {seconds:g} s, use longer --seconds; "
            f"statuses in all: {summary['statuses']}. {server.said}"
        )
    usage = server.usage
    return {
        "per_s": summary["per_s"],
        "cpu_s_per_1000": loaded.cpu_s / summary["answered"] * 1000,
        "cores": loaded.cpu_s / loaded.wall_s,
        "rss_mib": usage.rss_bytes / MIB,
        "pss_mib": usage.pss_bytes / MIB,
        "generator_cores": loaded.generator_cpu_s / loaded.wall_s,
        "summary": summary,
        "probabilities": {file: probability_in(body) for file, body in loaded.answers.items()},
    }


def probability_in(body: str) -> float:
    """Give the probability in an answer of the service or of a peer."""
    answer = json.loads(body)
    return float((answer["results"][0] if "results" in answer else answer)["probability"])


def largest_difference(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """Give how far two sets of probabilities of the same files are apart; None: none in common."""
    common = one.keys() & other.keys()
    return max((abs(one[file] - other[file]) for file in common), default=None)


def lone_ms(loaded: Loaded, phase: str) -> float | None:
    """Give the median latency of the good probes of a phase, in milliseconds."""
    taken = [r.latency_s * 1000 for r in loaded.phases[phase] if r.status == OK]
    return percentile(taken, 0.5)
