"""Memory of a replica after predictions at full load, with explanations off and on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.contest import measure_server
from benchmarks.explain import wait_explains
from benchmarks.files import Files
from benchmarks.rounds import FULL
from benchmarks.server import start_service

WORKERS = "2"  # on any machine, so that the bars mean the same


def measure_memory(
    bundles: Path, model: str, files: Files, settings: Mapping[str, str], seconds: float
) -> dict[str, float]:
    """Give the process tree's PSS in MiB: pages that its processes share count once.

    Args:
        bundles: Folder of bundles.
        model: Name of the one to load.
        files: To send.
        settings: CXR_* variables.
        seconds: Of predictions, before memory is read.
    """
    sample = files.typical.read_bytes()
    found = {}
    for explain in ("off", "on"):
        variables = {**settings, "CXR_WORKERS": WORKERS, "CXR_EXPLAIN": explain}
        with start_service(bundles, model, sample, variables) as server:
            if explain == "on":
                wait_explains(server, sample, model)
            found[f"{explain}_mib"] = measure_server(server, files.paths, FULL, seconds)["pss_mib"]
    return found
