"""The in-process limit: the same decoder, resize and engine in a loop, and no HTTP.

``python -m benchmarks.limit`` runs one process of it; several may run side by side. What no
server on this machine can beat is the best of a few ways to share the cores.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child import read_plan, say, wait_for_go
from benchmarks.engine import build_engine, bundle_of, on_one_core
from cxr.bundles.manifest import Manifest
from cxr.images.decoding import decode_image, decode_options, to_model_input
from cxr.pixels.image import ModelInput
from service.engines.protocol import Engine
from service.settings import load_settings


@dataclass(frozen=True)
class LimitPlan:
    """One process of the limit.

    Attributes:
        bundles: Folder of bundles.
        model: Name of the one to run.
        files: Paths of the files, taken in turn.
        threads: Loops side by side, each with an engine of its own.
        batch: Images of one run.
        seconds: How long.
        first: Index of the file to begin with.
        one_core: Whether each engine keeps to one core; else it is configured as the service's.
    """

    bundles: str
    model: str
    files: tuple[str, ...]
    threads: int
    batch: int
    seconds: float
    first: int = 0
    one_core: bool = True

    def as_json(self) -> dict[str, Any]:
        """Give it as it is sent to the process."""
        return asdict(self)


class Loop:
    """Decodes, resizes and runs in one thread.

    Args:
        engine: Its own engine.
        manifest: Of the bundle.
        files: The bytes of the files.
        batch: Images of one run.
    """

    def __init__(self, engine: Engine, manifest: Manifest, files: list[bytes], batch: int) -> None:
        self._engine = engine
        self._spec = manifest.preprocessing
        self._task = manifest.task.as_task()
        self._files = files
        self._batch = batch
        self.done = 0
        self.taken_ms: list[float] = []
        self.probabilities: dict[int, float] = {}

    def prepare(self, data: bytes) -> ModelInput:
        """Decode and resize one file as the service does."""
        image = decode_image(data, decode_options(self._spec))
        return to_model_input(image.pixels, self._spec)

    def step(self, first: int) -> None:
        """Answer for one batch of files, the first of them given."""
        started_s = time.perf_counter()
        numbers = [(first + i) % len(self._files) for i in range(self._batch)]
        batch = np.stack([self.prepare(self._files[number]) for number in numbers])
        column = self._task.probabilities(self._engine.run(batch).probabilities)
        self.done += len(numbers)
        self.taken_ms.append((time.perf_counter() - started_s) * 1000)
        self.probabilities.update(zip(numbers, map(float, column), strict=True))

    def run(self, first: int, until_s: float) -> None:
        """Go on until a moment of ``time.perf_counter``."""
        while time.perf_counter() < until_s:
            self.step(first)
            first += self._batch


def measure(plan: LimitPlan) -> dict[str, Any]:
    """Run one process's share of the limit and give the result as JSON."""
    settings = load_settings(bundles_dir=plan.bundles)
    if plan.one_core:
        settings = on_one_core(settings)
    bundle = bundle_of(Path(plan.bundles), plan.model)
    files = [Path(path).read_bytes() for path in plan.files]
    loops = [
        Loop(build_engine(bundle, settings), bundle.manifest, files, plan.batch)
        for _ in range(plan.threads)
    ]
    stride = len(files) // plan.threads
    for number, loop in enumerate(loops):
        loop.step(plan.first + number * stride)
        loop.done = 0
        loop.taken_ms.clear()
    wait_for_go()
    started_s = time.perf_counter()
    barrier = threading.Barrier(plan.threads)

    def work(number: int) -> None:
        barrier.wait()
        loops[number].run(plan.first + number * stride, started_s + plan.seconds)

    with ThreadPoolExecutor(plan.threads) as pool:
        list(pool.map(work, range(plan.threads)))
    return {
        "images": sum(loop.done for loop in loops),
        "seconds": time.perf_counter() - started_s,
        "taken_ms": [taken for loop in loops for taken in loop.taken_ms],
        "probabilities": {k: v for loop in loops for k, v in loop.probabilities.items()},
    }


def main() -> None:
    """Measure as told."""
    say(measure(LimitPlan(**read_plan())))


if __name__ == "__main__":
    main()
