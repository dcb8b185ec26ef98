"""Files of every kind, damaged: cut, flipped, overwritten, repeated."""

from __future__ import annotations

from functools import cache

import numpy as np

from cxr.errors import CxrError
from cxr.images.decoding import DecodeOptions, decode_image
from export.phantom import draw_phantom, encode_jpeg, encode_png
from tests.cxr.dicom_encodings import ENCODINGS, edited
from tests.fuzzing.families import MIB, Family

OPTIONS = DecodeOptions(max_pixels=4_000_000)
HEADER_BYTES = 1500


@cache
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


def make_damaged(rng: np.random.Generator) -> bytes:
    """Damage one of the seeds."""
    seeds = build_seeds()
    return damage(seeds[int(rng.integers(len(seeds)))], rng)


def read_picture(data: bytes) -> bool:
    """Decode it; only our own errors may come."""
    try:
        pixels = decode_image(data, OPTIONS).pixels
    except CxrError:
        return False
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2
    return True


DAMAGED = Family("damaged", make_damaged, read_picture, cpu_s=0.8, memory_bytes=64 * MIB)
"""A header may come to declare 4 million pixels of a codec that takes 200 ns for each."""
