"""Pictures that are small and decode to a lot: scans without end, runs, and flat PNG files."""

from __future__ import annotations

import numpy as np

from benchmarks.siege.made import dicom, pictures
from tests.fuzzing.damaged import damage, read_picture
from tests.fuzzing.families import MIB, Family, about

MOST_SCANS = 30_000
MOST_RUNS = 4 * MIB
LONGEST_SIDE = 9000
DAMAGED_SHARE = 0.3


def make_picture(rng: np.random.Generator) -> bytes:
    """Make one, sometimes inside DICOM, sometimes damaged as well."""
    match int(rng.integers(0, 4)):
        case 0:
            data = _jpeg(rng)[0]
        case 1:
            data = dicom.in_dicom(*_jpeg(rng))
        case 2:
            data = dicom.long_rle(about(rng, 2, MOST_RUNS), int(rng.integers(1, 600)))
        case _:
            colour = pictures.GREY if rng.random() < 0.5 else pictures.RGBA
            side, depth = about(rng, 1, LONGEST_SIDE), 8 if rng.random() < 0.5 else 16
            data = pictures.flat_png(side, colour, depth, interlaced=bool(rng.random() < 0.5))
    return damage(data, rng) if rng.random() < DAMAGED_SHARE else data


def _jpeg(rng: np.random.Generator) -> tuple[bytes, int]:
    side = int(rng.integers(1024, 2000))
    return pictures.many_scans(about(rng, 1, MOST_SCANS), side), side


SCANS = Family("scans", make_picture, read_picture, cpu_s=0.6, memory_bytes=64 * MIB)
"""A sound picture of 4 million pixels in 16 bits and four colours takes half of either."""
