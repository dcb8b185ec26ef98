"""Answers of an archive that cost whoever reads them without bounds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

MIB = 1 << 20
BROTLI_BLOCK_BYTES = 16 * MIB
BROTLI_FIRST = bytes.fromhex("cfffff7f002400e2b14072efff0d")
BROTLI_AGAIN = bytes.fromhex("fcffff074002200e0b40f7fedf00")
BROTLI_END = bytes.fromhex("03")
"""16 MiB of zeros at the window's full size, as many behind them, and the end (RFC 7932, 9)."""

OPENED = b'{"00081199":{"vr":"SQ","Value":["'


def endless_json(total_bytes: int) -> Iterator[bytes]:
    """Give the pieces of a JSON object with one string of that length."""
    yield OPENED
    piece = b"A" * MIB
    for _ in range(total_bytes // MIB):
        yield piece
    yield b'"]}}'


def brotli_bomb(total_bytes: int) -> bytes:
    """Give a brotli stream of zeros, about a byte for each megabyte.

    The blocks end on whole bytes, so that the second may be repeated.
    """
    blocks = max(1, total_bytes // BROTLI_BLOCK_BYTES)
    return BROTLI_FIRST + BROTLI_AGAIN * (blocks - 1) + BROTLI_END


def gzip_bomb(total_bytes: int) -> bytes:
    """Give a gzip stream of zeros, a thousandth of what it inflates to."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(MIB)
    return b"".join([*(packer.compress(zeros) for _ in range(total_bytes // MIB)), packer.flush()])


def deep_json(depth: int) -> bytes:
    """Give as many brackets, closed again."""
    return b"[" * depth + b"]" * depth


INFINITE_REASON = (
    b'{"00081198":{"vr":"SQ","Value":[{"00081150":{"vr":"UI","Value":["1.2"]},'
    b'"00081155":{"vr":"UI","Value":["1.2.3"]},'
    b'"00081197":{"vr":"US","Value":[Infinity]}}]}}'
)
"""A Store Instances Response whose failure reason is no number of JSON's."""
