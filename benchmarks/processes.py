"""One process for all cores beside as many processes as cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypedDict

from benchmarks.contest import Figures, measure_server
from benchmarks.rounds import FULL
from benchmarks.server import start_service
from service.engines.machine import usable_cores


class ProcessFigures(TypedDict):
    """What so many processes gave together, clients shared evenly among them."""

    processes: int
    workers: int
    per_s: float
    cpu_s_per_1000: float
    p99_ms: float
    rss_mib: float
    pss_mib: float


def measure_processes(
    bundles: Path,
    model: str,
    files: tuple[Path, ...],
    settings: Mapping[str, str],
    seconds: float,
) -> list[ProcessFigures]:
    """Measure one process with all cores, then as many with one core each.

    Args:
        bundles: Folder of bundles.
        model: Name of the model.
        files: To send.
        settings: CXR_* variables.
        seconds: Of each measurement.
    """
    cores, sample = usable_cores(), files[0].read_bytes()
    found = []
    for processes in dict.fromkeys((1, cores)):
        workers = cores // processes
        with ExitStack() as stack:
            share = {**settings, "CXR_WORKERS": str(workers)}
            servers = [
                stack.enter_context(start_service(bundles, model, sample, share))
                for _ in range(processes)
            ]
            pool = stack.enter_context(ThreadPoolExecutor(processes))
            waiting = [
                pool.submit(measure_server, server, files, FULL // processes, seconds)
                for server in servers
            ]
            figures = [one.result() for one in waiting]
        found.append(_together(figures, workers))
    return found


def _together(figures: Sequence[Figures], workers: int) -> ProcessFigures:
    per_s = sum(one["per_s"] for one in figures)
    return {
        "processes": len(figures),
        "workers": workers,
        "per_s": per_s,
        "cpu_s_per_1000": sum(one["cpu_s_per_1000"] * one["per_s"] for one in figures) / per_s,
        "p99_ms": max(one["summary"]["p99_ms"] or 0.0 for one in figures),
        "rss_mib": sum(one["rss_mib"] for one in figures),
        "pss_mib": sum(one["pss_mib"] for one in figures),
    }
