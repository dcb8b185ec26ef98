"""``python -m tests.fuzz`` damages files of every kind and reads them: only refusals may come.

Each worker is a process of bounded memory, so that a crash, a hang or a flood of memory of a
decoder is found too; the input it happened on is left in ``--keep``.
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

from cxr.decoding import DecodeOptions, decode_image
from cxr.errors import CxrError
from export.phantom import draw_phantom, encode_jpeg, encode_png
from tests.cxr.dicom_encodings import ENCODINGS, edited

OPTIONS = DecodeOptions(max_pixels=4_000_000)
MEMORY_BYTES = 3 << 30
INPUT_SECONDS = 20
HEADER_BYTES = 1500


def build_seeds(side: int = 64) -> list[bytes]:
    """One small picture in every encoding of DICOM, in JPEG and in PNG."""
    image = draw_phantom(3)[200 : 200 + side, 200 : 200 + side]
    return [*(edited(image, *e.edits) for e in ENCODINGS), encode_jpeg(image), encode_png(image)]


def damage(seed: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, overwrite, repeat or remove some of a file, at its head more often."""
    data = bytearray(seed)
    for _ in range(int(rng.integers(1, 6))):
        reach = len(data) if rng.random() < 0.5 else min(len(data), HEADER_BYTES)
        if reach < 2:
            break
        at = int(rng.integers(0, reach))
        span = int(rng.integers(1, 9))
        match int(rng.integers(0, 7)):
            case 0:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                data[at : at + span] = rng.integers(0, 256, span, np.uint8).tobytes()
            case 2:
                data[at : at + span] = b"\xff" * span if rng.random() < 0.5 else b"\0" * span
            case 3:
                del data[at : at + int(rng.integers(1, 200))]
            case 4:
                data[at:at] = data[at : at + int(rng.integers(1, 200))]
            case 5:
                other = int(rng.integers(0, len(data)))
                data[at : at + span] = data[other : other + span]
            case _:
                if rng.random() < 0.3:
                    del data[at:]
    return bytes(data)


def read_damaged(seeds: list[bytes], count: int, start: int, last: Path | None = None) -> int:
    """Read damaged inputs one after another; each stands in ``last`` while it is read.

    Returns:
        How many of them could be read in spite of it.
    """
    read = 0
    for number in range(start, start + count):
        rng = np.random.default_rng(number)
        data = damage(seeds[number % len(seeds)], rng)
        if last is not None:
            last.write_bytes(data)
            signal.alarm(INPUT_SECONDS)
        try:
            pixels = decode_image(data, OPTIONS).pixels
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 2
            read += 1
        except CxrError:
            continue
    return read


def _work(
    batch: int, total: int, taken: Synchronized[int], done: Synchronized[int], last: Path
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("error")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    import cxr.dicom  # noqa: F401  # its filters come after the line above

    warnings.filterwarnings("ignore", module="pydicom|PIL")
    seeds = build_seeds()
    while True:
        with taken.get_lock():
            start = taken.value
            taken.value += batch
        if start >= total:
            break
        read_damaged(seeds, min(batch, total - start), start, last)
        with done.get_lock():
            done.value += min(batch, total - start)
    signal.alarm(0)
    last.unlink(missing_ok=True)


def main() -> int:
    """Run the workers and tell what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), help="where findings are left")
    wish = parser.parse_args()
    wish.keep.mkdir(parents=True, exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    taken, done = spawn.Value("q", wish.first), spawn.Value("q", 0)
    total = wish.first + wish.inputs
    began = time.monotonic()
    files = [wish.keep / f"{time.time_ns()}-{n}.bin" for n in range(wish.workers)]
    workers = [spawn.Process(target=_work, args=(200, total, taken, done, f)) for f in files]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    failed = [f for w, f in zip(workers, files, strict=True) if w.exitcode != 0]
    codes = [w.exitcode for w in workers]
    print(f"{done.value} inputs in {time.monotonic() - began:.0f} s, exit codes {codes}")
    for file in failed:
        print(f"found: {file}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
