"""Compressed bodies, which the protocol's clients can send."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeAlias

from cxr.errors import UnsupportedMediaError
from service.errors import InvalidRequestError
from service.web.body import Lease, too_large

WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""zlib's names for the two formats (RFC 9110, section 8.4.1)."""

STEP_BYTES = 1024 * 1024  # a kilobyte can become a megabyte: never more at once than is accounted

OffLoop: TypeAlias = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Does some work on another thread."""


def content_encoding(header: str) -> str | None:
    """Give how a body is compressed, None if it is not.

    Raises:
        UnsupportedMediaError: In a way not read here.
    """
    encoding = header.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in WBITS:
        raise UnsupportedMediaError(
            f"The Content-Encoding is not known. Known are: {', '.join(WBITS)}."
        )
    return encoding


async def decompress_chunks(
    chunks: AsyncIterator[bytes], encoding: str, limit_bytes: int, lease: Lease, run: OffLoop
) -> AsyncIterator[bytes]:
    """Decompress a body piece by piece, within the limits a plain one has.

    Args:
        chunks: The body.
        encoding: ``gzip`` or ``deflate``.
        limit_bytes: Largest body, decompressed.
        lease: Grows with what was decompressed.
        run: Does the work off the event loop.

    Raises:
        InvalidRequestError: It is not compressed so, or cut off.
        PayloadTooLargeError: It is over the limit.
        QueueFullError: Bodies of other requests take up all memory set aside.
    """
    inflater = zlib.decompressobj(WBITS[encoding])
    total = 0
    async for chunk in chunks:
        rest = chunk
        while rest:
            if inflater.eof:
                raise InvalidRequestError(
                    "There is something after the end of the compressed body."
                )
            try:
                piece = await run(partial(inflater.decompress, rest, STEP_BYTES))
            except zlib.error:
                raise InvalidRequestError(
                    "The body is not compressed the way its Content-Encoding says."
                ) from None
            total += len(piece)
            if total > limit_bytes:
                raise too_large(limit_bytes)
            lease.grow_to(total)
            yield piece
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if not inflater.eof:
        raise InvalidRequestError("The compressed body is cut off.")
