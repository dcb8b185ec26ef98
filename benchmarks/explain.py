"""What an explanation costs over HTTP, and what it costs the predictions beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.child import Child, MeasureError
from benchmarks.connection import build_request
from benchmarks.contest import plan_for, run_load
from benchmarks.files import Files
from benchmarks.server import PATIENCE_S, Server, start_service, status_of
from benchmarks.tally import OK, Record, Summary, summarise

EXPLAINERS = 2
EXPLAIN_PATH = "/v1/explain"
NOT_READY = 503
POLL_S = 0.05
LEAD_S = 3.0
"""How much longer explanations are asked for than is measured: predictions begin meanwhile."""


def wait_explains(server: Server, sample: bytes, model: str) -> int:
    """Wait while explanations of a model are being loaded, and give the status they answer then.

    Raises:
        MeasureError: They did not come.
    """
    target = replace(server.target, path=f"{EXPLAIN_PATH}?model={model}")
    request = build_request(target, sample)
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        if (status := status_of(target, request)) not in (None, NOT_READY):
            return status
        time.sleep(POLL_S)
    raise MeasureError(f"{model} could not be explained after {PATIENCE_S:.0f} s: {server.said}")


def measure_explain(
    bundles: Path,
    model: str,
    files: Files,
    settings: Mapping[str, str],
    seconds: float,
    rounds: int,
) -> dict[str, Any]:
    """Measure explanations of one model and give the results as JSON: medians of the rounds.

    Args:
        bundles: Folder of bundles.
        model: Name of the model.
        files: To send.
        settings: CXR_* variables; explanations are turned on.
        seconds: Of each measurement.
        rounds: How often predictions and explanations are measured, one after another.

    Raises:
        MeasureError: The model's answers are not explained, or not while predictions were timed.
    """
    from benchmarks.grad_cam import measure_cost  # loads PyTorch

    sample = files.typical.read_bytes()
    with start_service(bundles, model, sample, {**settings, "CXR_EXPLAIN": "on"}) as server:
        if (status := wait_explains(server, sample, model)) != OK:
            raise MeasureError(f"{EXPLAIN_PATH} answers {status}")
        taken = [_round(server, files, seconds) for _ in range(rounds)]
        pss_mib = server.usage.pss_bytes / 2**20
    costs = measure_cost(bundles / model, seconds)
    return {
        **{name: median(one[name] for one in taken) for name in taken[0]},
        "pss_mib": pss_mib,
        "costs": costs,
        # The better precision of one image is what a CPU is served with.
        "served_ratio": min(
            (one["explain_ms"], one["served_ratio"]) for one in costs if one["batch"] == 1
        )[1],
    }


def _round(server: Server, files: Files, seconds: float) -> dict[str, float]:
    explain = _lone(server, files, seconds, EXPLAIN_PATH)
    predict = _lone(server, files, seconds, server.target.path)
    beside, explained_per_s = _predictions_beside(server, files, seconds)
    figures = {
        "predict_p50_ms": predict["p50_ms"],
        "predict_p99_ms": predict["p99_ms"],
        "explain_p50_ms": explain["p50_ms"],
        "predict_beside_p50_ms": beside["p50_ms"],
        "predict_beside_p99_ms": beside["p99_ms"],
        "explained_beside_per_s": explained_per_s or None,
    }
    found = {name: value for name, value in figures.items() if value is not None}
    if len(found) < len(figures):
        raise MeasureError(f"nothing was answered within {seconds:g} s, use longer --seconds")
    return found | {
        "lone_ratio": found["explain_p50_ms"] / found["predict_p50_ms"],
        "beside_ratio": found["predict_beside_p99_ms"] / found["predict_p99_ms"],
    }


def _lone(server: Server, files: Files, seconds: float, path: str) -> Summary:
    plan = replace(plan_for(server, files.paths, seconds=seconds), path=path)
    return summarise(run_load(plan, server.process.pid).phases["during"], seconds)


def _predictions_beside(server: Server, files: Files, seconds: float) -> tuple[Summary, float]:
    """Predict one image after another while some clients explain all the time.

    Returns:
        The predictions, and explanations per second meanwhile.
    """
    explain = replace(
        plan_for(server, files.paths, seconds=seconds + LEAD_S, concurrency=EXPLAINERS),
        path=EXPLAIN_PATH,
    )
    with Child("benchmarks.load", explain.as_json()) as explainers:
        explainers.wait_ready()
        explainers.go()
        beside = _lone(server, files, seconds, server.target.path)
        explained = [Record(*one) for one in explainers.read()["phases"]["during"]]
    return beside, summarise(explained, explain.seconds)["per_s"]
