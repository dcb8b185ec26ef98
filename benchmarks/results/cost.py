"""What networks cost: parameters, arithmetic, size and latency as exported."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.results.document import Cost
from cxr.bundles.bundle import Bundle, open_bundle
from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.run import Run
from cxr.networks.served import served_network
from export.build import build_bundle
from export.engines import OrtRunner

ROUNDS = 15
WARM_UP = 2


def measure_costs(runs: Sequence[tuple[Path, Run]]) -> list[Cost]:
    """Measure runs; the latencies are taken in turns, so that all meet the same neighbours.

    Args:
        runs: Run directories with what they hold.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundles = [
            open_bundle(build_bundle(path, Path(folder) / str(place), with_int8=False))
            for place, (path, _) in enumerate(runs)
        ]
        latencies = _latencies_ms(bundles)
        return [
            Cost(
                parameters=_parameters(path, run),
                macs=_macs(path, run),
                onnx_bytes=bundle.model_path.stat().st_size,
                latency_ms=latency,
            )
            for (path, run), bundle, latency in zip(runs, bundles, latencies, strict=True)
        ]


def _parameters(path: Path, run: Run) -> int:
    network = served_network(path / WEIGHTS_NAME, run).network
    return sum(parameter.numel() for parameter in network.parameters())


def _macs(path: Path, run: Run) -> int:
    network, size = served_network(path / WEIGHTS_NAME, run).network, run.preprocessing.size_px
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        network(torch.zeros(1, 1, size, size))
    return int(counter.get_total_flops()) // 2


def _latencies_ms(bundles: Sequence[Bundle]) -> list[float]:
    engines = [OrtRunner(one.model_path, one.manifest, threads=1) for one in bundles]
    images = [one.golden_tensors().images[-1:] for one in bundles]
    taken: list[list[float]] = [[] for _ in bundles]
    for round_ in range(WARM_UP + ROUNDS):
        for engine, image, times in zip(engines, images, taken, strict=True):
            started = time.perf_counter()
            engine.run(np.ascontiguousarray(image))
            if round_ >= WARM_UP:
                times.append((time.perf_counter() - started) * 1000.0)
    return [statistics.median(times) for times in taken]
