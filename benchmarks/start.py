"""From the start of the process to the first prediction it would accept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.server import start_service


def measure_starts(
    bundles: Path, model: str, sample: bytes, settings: Mapping[str, str], times: int
) -> dict[str, float]:
    """Start the service some times with explanations off and on; give the medians in seconds.

    Files lie in the page cache: on a cold machine reading them comes on top.

    Args:
        bundles: Folder of bundles.
        model: The one to load.
        sample: A file to try.
        settings: CXR_* variables.
        times: How often.
    """
    results = {}
    for explain in ("off", "on"):
        taken = []
        for _ in range(times):
            with start_service(
                bundles, model, sample, {**settings, "CXR_EXPLAIN": explain}
            ) as server:
                taken.append(server.start_s)
        results[f"{explain}_s"] = median(taken)
    return results
