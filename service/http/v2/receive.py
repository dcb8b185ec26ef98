"""The images of an inference request, read and prepared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

import numpy as np
from starlette.requests import Request

from service.errors import InvalidRequestError
from service.http.context import runtime_of
from service.http.v2.answer import HEADER_LENGTH
from service.http.v2.call import Call, parse_call
from service.http.v2.compression import content_encoding, decompress_chunks
from service.images.tensors import prepare_tensor
from service.models.predictor import EncodedImage, Outcome, PredictionRequest
from service.web.body import BodyBudget, Lease, read_chunks
from service.web.body_rate import BodyRate
from service.web.connection import while_connected
from service.web.requests import context_of


async def read_call(request: Request, prediction: PredictionRequest) -> tuple[Call, list[Outcome]]:
    """Receive a request and read its images; its body is let go at the end.

    Raises:
        ServingError: The request cannot be read; the subclass says why.
        UnsupportedMediaError: Its body is compressed in a way not read here.
    """
    header_length = _header_length(request)
    runtime, served = runtime_of(request), prediction.served
    receiving = prediction.admit()  # refused before the body is read
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        with receiving:
            body = b"".join([chunk async for chunk in _read_body(request, lease)])
        work = partial(
            parse_call,
            body,
            header_length,
            served.manifest,
            runtime.settings.max_images_per_request,
        )
        call = await while_connected(request, runtime.pool.run(work, prediction.deadline))
        prediction.timeline.fields["images"] = len(call.images)
        # Refused before anything is decoded.
        prediction.point = served.operating_point(call.operating_point)
        if isinstance(call.images, np.ndarray):
            tensors = [(str(i), partial(prepare_tensor, one)) for i, one in enumerate(call.images)]
            reading = prediction.read_prepared(tensors)
        else:
            files = [EncodedImage(str(i), data) for i, data in enumerate(call.images)]
            reading = prediction.read(files)
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
    encoding = content_encoding(request.headers.get("content-encoding", ""))
    chunks = read_chunks(request, limit_bytes, lease, deadline, BodyRate.of(runtime.settings))
    if encoding is None:
        return chunks

    async def run(work: Callable[[], bytes]) -> bytes:
        return await runtime.pool.run(work, deadline)

    return decompress_chunks(chunks, encoding, limit_bytes, lease, run)
