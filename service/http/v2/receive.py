"""The images of an inference request, read and prepared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

import numpy as np
from starlette.requests import Request

from service.errors import InvalidRequestError
from service.http.context import context_of, runtime_of
from service.http.v2.answer import HEADER_LENGTH
from service.http.v2.call import Call, parse_call
from service.http.v2.compression import content_encoding, decompress_chunks
from service.images.tensors import prepare_tensor
from service.models.models import ServedModel
from service.models.predictor import EncodedImage, ImageFailure, Reading, read_images
from service.scheduling.lane import Prepare
from service.web.body import BodyBudget, Lease, read_chunks
from service.web.body_rate import BodyRate
from service.web.connection import while_connected


async def read_call(
    request: Request, served: ServedModel
) -> tuple[Call, list[Reading | ImageFailure]]:
    """Receive a request and read its images; its body is let go at the end.

    Raises:
        ServingError: The request cannot be read; the subclass says why.
        UnsupportedMediaError: Its body is compressed in a way not read here.
    """
    header_length = _header_length(request)
    runtime, context = runtime_of(request), context_of(request)
    runtime.verify_admits(served, context.deadline)  # refused before the body is read
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        with runtime.arriving(served):
            body = b"".join([chunk async for chunk in _read_body(request, lease)])
        work = partial(
            parse_call,
            body,
            header_length,
            served.manifest,
            runtime.settings.max_images_per_request,
        )
        call = await while_connected(request, runtime.pool.run(work, context.deadline))
        context.log_fields["images"] = len(call.images)
        served.operating_point(call.operating_point)  # refused before anything is decoded
        preparing = _preparing(call, served, runtime.settings.max_image_pixels)
        reading = read_images(preparing, served, context.deadline, context.stopwatch)
        return call, await while_connected(request, reading)


def _preparing(call: Call, served: ServedModel, max_pixels: int) -> list[tuple[str, Prepare]]:
    if isinstance(call.images, np.ndarray):
        return [(str(i), partial(prepare_tensor, image)) for i, image in enumerate(call.images)]
    files = [EncodedImage(str(i), data) for i, data in enumerate(call.images)]
    return [(file.id, file.preparing(served, max_pixels, keep_picture=False)) for file in files]


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
    chunks = read_chunks(request, limit_bytes, lease, deadline, BodyRate.of(runtime.settings))
    if encoding is None:
        return chunks

    async def run(work: Callable[[], bytes]) -> bytes:
        return await runtime.pool.run(work, deadline)

    return decompress_chunks(chunks, encoding, limit_bytes, lease, run)
