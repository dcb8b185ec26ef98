"""``python -m tests.fuzz`` reads hostile inputs of several families: only refusals may come.

Each worker is a process of bounded memory, so that a crash, a hang or a flood of memory of a
decoder is found too. Besides, each input has a bound of CPU time and of memory. The input on which
a worker ended is left in ``--keep``.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import signal
import sys
import time
import warnings
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np

from tests.fuzzing.answers import ANSWERS
from tests.fuzzing.damaged import DAMAGED
from tests.fuzzing.elements import ELEMENTS
from tests.fuzzing.families import Family, read_bounded
from tests.fuzzing.scans import SCANS
from tests.fuzzing.trailers import TRAILERS

FAMILIES = {one.name: one for one in (DAMAGED, ELEMENTS, SCANS, TRAILERS, ANSWERS)}
MEMORY_BYTES = 3 << 30
INPUT_SECONDS = 60  # of the clock: other work may share the machine


def read_inputs(family: Family, count: int, start: int, last: Path | None = None) -> int:
    """Read inputs of a family one after another; each stands in ``last`` while it is read.

    Returns:
        How many of them could be read in spite of what they are.

    Raises:
        BoundExceededError: One cost too much.
    """
    read = 0
    for number in range(start, start + count):
        data = family.make(np.random.default_rng(number))
        if last is not None:
            last.write_bytes(data)
            signal.alarm(INPUT_SECONDS)
        read += read_bounded(family, data)
    return read


def _work(
    name: str, batch: int, total: int, taken: Synchronized[int], done: Synchronized[int], last: Path
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("error")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    import cxr.dicom.decode  # noqa: F401  # its filters come after the line above

    warnings.filterwarnings("ignore", module="pydicom|PIL")
    for noisy in (
        "httpx",
        "cxr_service",
        "python_multipart",
    ):  # what they tell of each request is no finding
        logging.getLogger(noisy).setLevel(logging.WARNING)
    family = FAMILIES[name]
    read_inputs(family, 1, 0, last)  # what the first one loads is no cost of the next
    while True:
        with taken.get_lock():
            start = taken.value
            taken.value += batch
        if start >= total:
            break
        read_inputs(family, min(batch, total - start), start, last)
        with done.get_lock():
            done.value += min(batch, total - start)
    signal.alarm(0)
    last.unlink(missing_ok=True)


def fuzz(family: Family, first: int, inputs: int, workers: int, keep: Path) -> bool:
    """Run the workers over one family, tell what was found, and whether nothing was."""
    spawn = multiprocessing.get_context("spawn")
    taken, done = spawn.Value("q", first), spawn.Value("q", 0)
    total, began = first + inputs, time.monotonic()
    batch = min(200, max(1, inputs // workers // 8))
    files = [keep / f"{family.name}-{time.time_ns()}-{n}.bin" for n in range(workers)]
    running = [
        spawn.Process(target=_work, args=(family.name, batch, total, taken, done, file))
        for file in files
    ]
    for worker in running:
        worker.start()
    for worker in running:
        worker.join()
    codes = [worker.exitcode for worker in running]
    took_s = time.monotonic() - began
    print(f"{family.name}: {done.value} inputs in {took_s:.0f} s, exit codes {codes}", flush=True)
    for file, code in zip(files, codes, strict=True):
        if code != 0:
            print(f"found: {file}", file=sys.stderr)
    return not any(codes)


def main() -> int:
    """Fuzz each family and tell what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of damaged files")
    parser.add_argument("--bombs", type=int, default=1000, help="inputs of each other family")
    parser.add_argument("--only", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), help="where findings are left")
    wish = parser.parse_args()
    wish.keep.mkdir(parents=True, exist_ok=True)
    clean = True
    for name in wish.only:
        inputs = wish.inputs if name == DAMAGED.name else wish.bombs
        clean &= fuzz(FAMILIES[name], wish.first, inputs, wish.workers, wish.keep)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
