"""What an explanation costs over HTTP, and what it costs the predictions beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.child import Child
from benchmarks.contest import plan_for, run_load
from benchmarks.files import Files
from benchmarks.server import Server, start_service
from benchmarks.tally import Summary, summarise

EXPLAINERS = 2
EXPLAIN_PATH = "/v1/explain"


def measure_explain(
    bundles: Path, model: str, files: Files, settings: Mapping[str, str], seconds: float
) -> dict[str, Any]:
    """Measure explanations of one model and give the results as JSON.

    Args:
        bundles: Folder of bundles.
        model: Name of the model.
        files: To send.
        settings: CXR_* variables; explanations are turned on.
        seconds: Of each measurement.
    """
    from benchmarks.grad_cam import measure_cost  # loads PyTorch

    sample = files.typical.read_bytes()
    with start_service(bundles, model, sample, {**settings, "CXR_EXPLAIN": "on"}) as server:
        predict = _lone(server, files, seconds, server.target.path)
        explain = _lone(server, files, seconds, EXPLAIN_PATH)
        beside = _predictions_beside(server, files, seconds)
        rss_mib = server.usage.rss_bytes / 2**20
    costs = measure_cost(bundles / model, seconds)
    return {
        "predict_p50_ms": predict["p50_ms"],
        "explain_p50_ms": explain["p50_ms"],
        "lone_ratio": (explain["p50_ms"] or 0.0) / (predict["p50_ms"] or 1.0),
        "predict_p99_ms": predict["p99_ms"],
        "predict_beside_p50_ms": beside["p50_ms"],
        "predict_beside_p99_ms": beside["p99_ms"],
        "rss_mib": rss_mib,
        "costs": costs,
        # The better precision of one image is what a CPU is served with.
        "served_ratio": min(
            (one["explain_ms"], one["served_ratio"]) for one in costs if one["batch"] == 1
        )[1],
    }


def _lone(server: Server, files: Files, seconds: float, path: str) -> Summary:
    plan = replace(plan_for(server, files.paths, seconds=seconds), path=path)
    return summarise(run_load(plan, server.process.pid).phases["during"], seconds)


def _predictions_beside(server: Server, files: Files, seconds: float) -> Summary:
    """Predict one image after another while some clients explain all the time."""
    explain = replace(
        plan_for(server, files.paths, seconds=seconds + 1.0, concurrency=EXPLAINERS),
        path=EXPLAIN_PATH,
    )
    with Child("benchmarks.load", explain.as_json()) as explainers:
        explainers.wait_ready()
        explainers.go()
        beside = _lone(server, files, seconds, server.target.path)
        explainers.read()
    return beside
