"""From the start of the process to the first request it would accept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.explain import wait_explains
from benchmarks.server import start_service

STARTED = ("resnet18", "small_cnn", "resnet18-ternary")
"""Models of the replica that is started."""


def measure_starts(
    bundles: Path, sample: bytes, settings: Mapping[str, str], times: int
) -> dict[str, float]:
    """Start the service some times with explanations off and on; give the medians in seconds.

    Files lie in the page cache: on a cold machine reading them comes on top.

    Args:
        bundles: Folder of bundles.
        sample: A file to try.
        settings: CXR_* variables.
        times: How often.

    Returns:
        ``off_s`` and ``on_s`` until predictions are ready, ``explains_s`` until every model's
        explanations are.
    """
    taken: dict[str, list[float]] = {"off_s": [], "on_s": [], "explains_s": []}
    for _ in range(times):
        for explain in ("off", "on"):
            variables = {**settings, "CXR_EXPLAIN": explain}
            with start_service(bundles, ",".join(STARTED), sample, variables) as server:
                taken[f"{explain}_s"].append(server.start_s)
                if explain == "on":
                    for model in STARTED:
                        wait_explains(server, sample, model)
                    taken["explains_s"].append(server.age_s)
    return {name: median(values) for name, values in taken.items()}
