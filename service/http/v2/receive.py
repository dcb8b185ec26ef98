"""The images of an inference request, read and prepared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

import numpy as np
from starlette.requests import Request

from service.errors import InvalidRequestError
from service.http.body import BodyBudget, Lease, read_chunks
from service.http.connection import while_connected
from service.http.context import context_of, runtime_of
from service.http.v2.answer import HEADER_LENGTH
from service.http.v2.call import Call, parse_call
from service.http.v2.compression import content_encoding, decompress_chunks
from service.inference.models import ServedModel
from service.inference.prediction import EncodedImage, Prepared, prepare_images
from service.inference.tensor_preparation import prepare_tensors


async def receive_call(request: Request, served: ServedModel) -> tuple[Call, Prepared]:
    """Read a request and prepare its images; its body is let go at the end.

    Raises:
        ServingError: The request cannot be read; the subclass says why.
        UnsupportedMediaError: Its body is compressed in a way not read here.
    """
    served.batcher.verify_room(1)  # refused at the door, before the body is read
    header_length = _header_length(request)
    runtime, context = runtime_of(request), context_of(request)
    runtime.verify_admits(served, context.deadline)
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        with runtime.admission.body_being_read():
            body = b"".join([chunk async for chunk in _read_body(request, lease)])
        work = partial(
            parse_call,
            body,
            header_length,
            served.manifest,
            runtime.settings.max_images_per_request,
        )
        with context.stopwatch.stage("decode"):
            call = await while_connected(
                request, runtime.decoder.run(work, context.deadline, served.manifest.name)
            )
            context.log_fields.update(images=len(call.images), body_bytes=lease.held_bytes)
            served.operating_point(call.operating_point)  # refused before anything is decoded
            return call, await while_connected(request, _prepare(request, call, served))


async def _prepare(request: Request, call: Call, served: ServedModel) -> Prepared:
    decoder, deadline = runtime_of(request).decoder, context_of(request).deadline
    if isinstance(call.images, np.ndarray):
        return await prepare_tensors(call.images, decoder, deadline, served.manifest.name)
    files = [EncodedImage(str(i), data) for i, data in enumerate(call.images)]
    return await prepare_images(files, served, decoder, deadline)


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
    encoding = content_encoding(request.headers.get("content-encoding", ""))
    chunks = read_chunks(request, limit_bytes, lease, deadline)
    if encoding is None:
        return chunks

    async def run(work: Callable[[], bytes]) -> bytes:
        return await runtime.decoder.run(work, deadline)

    return decompress_chunks(chunks, encoding, limit_bytes, lease, run)
