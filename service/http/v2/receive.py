"""Reception, decompression and reading of inference requests."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeAlias, cast

import numpy as np
from starlette.requests import Request

from cxr.errors import UnsupportedMediaError
from service.errors import InvalidRequestError
from service.http.receive import runtime_of
from service.http.v2.answer import HEADER_LENGTH
from service.http.v2.call import Call, CallForm, parse_call
from service.images.tensors import prepare_tensor
from service.models.predictor import EncodedImage, Outcome, PredictionRequest
from service.scheduling.cores import on_bytes
from service.web.bodies import (
    BodyBudget,
    BodyRate,
    Lease,
    receive_body,
    too_large,
    while_connected,
)
from service.web.requests import context_of

WBITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""zlib's names for the two formats (RFC 9110, section 8.4.1)."""

STEP_BYTES = 1024 * 1024  # a kilobyte can become a megabyte: never more at once than is accounted

OffLoop: TypeAlias = Callable[[Callable[[], bytes]], Awaitable[bytes]]
"""Does some work on another thread."""


async def read_call(request: Request, prediction: PredictionRequest) -> tuple[Call, list[Outcome]]:
    """Receive a request and read its images; its body is released at the end.

    Raises:
        ServingError: The request cannot be read.
        UnsupportedMediaError: The Content-Encoding is unsupported.
    """
    header_length = _header_length(request)
    runtime, served = runtime_of(request), prediction.served
    receiving = prediction.admit()  # refused before the body is read
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        with receiving:
            body = b"".join([chunk async for chunk in _read_body(request, lease)])
        work = on_bytes(
            parse_call,
            body,
            header_length,
            CallForm.of(served.manifest),
            runtime.settings.max_images_per_request,
        )
        call = await while_connected(request, runtime.pool.run(work, prediction.deadline))
        prediction.timeline.fields["images"] = len(call.images)
        # Refused before anything is decoded.
        prediction.point = served.operating_point(call.operating_point)
        if isinstance(call.images, np.ndarray):
            tensors = [(str(i), partial(prepare_tensor, one)) for i, one in enumerate(call.images)]
            reading = prediction.read_prepared(tensors, keep_row=True)
        else:
            files = [EncodedImage(str(i), data) for i, data in enumerate(call.images)]
            reading = prediction.read(files, keep_row=True)
        return call, await while_connected(request, reading)


def _header_length(request: Request) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    # As many digits as any length has: a number of a million digits takes long to read.
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise InvalidRequestError(f"{HEADER_LENGTH} is not a number.")
    return int(text)


def _read_body(request: Request, lease: Lease) -> AsyncIterator[bytes]:
    runtime, deadline = runtime_of(request), context_of(request).deadline
    limit_bytes = runtime.settings.max_body_bytes
    encoding = _content_encoding(request.headers.get("content-encoding", ""))
    rate = BodyRate.of(runtime.settings)
    chunks = receive_body(request, limit_bytes, rate, deadline, lease=lease)
    if encoding is None:
        return chunks

    async def run(work: Callable[[], bytes]) -> bytes:
        # A thread of this process, which has the decompressor.
        return await asyncio.to_thread(work)

    return _decompress_chunks(chunks, encoding, limit_bytes, lease, run)


def _content_encoding(header: str) -> str | None:
    encoding = header.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in WBITS:
        raise UnsupportedMediaError(
            f"The Content-Encoding is not supported. Supported are: {', '.join(WBITS)}."
        )
    return encoding


async def _decompress_chunks(
    chunks: AsyncIterator[bytes], encoding: str, limit_bytes: int, lease: Lease, run: OffLoop
) -> AsyncIterator[bytes]:
    inflater = zlib.decompressobj(WBITS[encoding])
    total = 0
    async for chunk in chunks:
        rest = chunk
        while rest:
            if inflater.eof:
                raise InvalidRequestError("Data follows the end of the compressed body.")
            try:
                piece = await run(partial(inflater.decompress, rest, STEP_BYTES))
            except zlib.error:
                raise InvalidRequestError("The body does not match its Content-Encoding.") from None
            total += len(piece)
            if total > limit_bytes:
                raise too_large(limit_bytes)
            lease.grow_to(total)
            yield piece
            rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    if not inflater.eof:
        raise InvalidRequestError("The compressed body is truncated.")
