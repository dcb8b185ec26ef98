"""What the load generator can do at most, so that it is known not to be the bottleneck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.child import ROOT, MeasureError
from benchmarks.contest import run_load
from benchmarks.load import Plan
from benchmarks.tally import summarise

CONCURRENCY = 32


def measure_ceiling(files: tuple[Path, ...], seconds: float) -> dict[str, float]:
    """Send the files to a server that answers at once.

    Returns:
        Requests per second, CPU seconds per request, and cores the generator used.

    Raises:
        MeasureError: The server did not start.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.null"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as null:
        assert null.stdout is not None
        assert null.stdin is not None
        port = null.stdout.readline()
        if not port:
            raise MeasureError("the server that answers at once did not start")
        plan = Plan(
            "127.0.0.1",
            int(port),
            "/",
            tuple(map(str, files)),
            seconds=seconds,
            concurrency=CONCURRENCY,
        )
        loaded = run_load(plan, null.pid)
        null.stdin.close()
    summary = summarise(loaded.phases["during"], seconds)
    return {
        "per_s": summary["per_s"],
        "cpu_s_per_request": loaded.generator_cpu_s / max(1, summary["answered"]),
        "cores": loaded.generator_cpu_s / loaded.wall_s,
    }
