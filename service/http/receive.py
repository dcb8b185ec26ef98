"""A request's runtime, images and predictions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import cast

from starlette.requests import Request

from cxr.errors import UnsupportedMediaError
from cxr.images.decoding import SNIFF_BYTES, sniff_format
from service.errors import InvalidRequestError
from service.http.form import choose_ids, read_parts
from service.http.formats.sources import Sources
from service.http.json_body import parse_json_images
from service.models.predictor import EncodedImage, Outcome, PredictionRequest
from service.models.runtime import Runtime
from service.scheduling.cores import on_bytes
from service.web.bodies import BodyBudget, BodyRate, Lease, receive_body, while_connected
from service.web.requests import context_of


def runtime_of(request: Request) -> Runtime:
    """Return the request's runtime."""
    return cast("Runtime", request.app.state.runtime)


def accepted(
    request: Request, model: str | None, operating_point: str | None, version: str | None = None
) -> AbstractContextManager[PredictionRequest]:
    """Accept a request, see :meth:`Predictor.accept`."""
    context, predictor = context_of(request), runtime_of(request).predictor
    return predictor.accept(
        context.deadline, context.timeline, model, operating_point, version=version
    )


async def read_request(
    request: Request,
    prediction: PredictionRequest,
    *,
    to_explain: bool = False,
    sources: Sources | None = None,
) -> list[Outcome]:
    """Receive, decode and run the images; their encoded bytes are released at the end.

    ``to_explain`` accepts a single image and keeps what its explanation is drawn on.

    Raises:
        ServingError: The request cannot be read.
        NotAcceptableError: These images cannot be answered as requested.
        UnsupportedMediaError: A raw body is not an image.
    """
    receiving = prediction.admit()  # refused before the body is read
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        with receiving:
            images = await read_images(request, lease)
        if to_explain and len(images) > 1:
            raise InvalidRequestError(
                f"The request holds {len(images)} images, but one is explained at a time. "
                "Send them one by one."
            )
        if sources is not None:
            await sources.read(images, runtime_of(request).pool, prediction.deadline)
        return await while_connected(request, prediction.read(images, keep_picture=to_explain))


async def read_images(request: Request, lease: Lease) -> list[EncodedImage]:
    """Receive a raw body, a form or JSON; raises as :func:`read_request`."""
    runtime, context = runtime_of(request), context_of(request)
    settings = runtime.settings
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaError(
            "The body has a Content-Encoding. Send it without one; images are compressed already."
        )
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    chunks = receive_body(
        request, settings.max_body_bytes, BodyRate.of(settings), context.deadline, lease=lease
    )
    if media_type == "multipart/form-data":
        parts = await read_parts(content_type, chunks, settings.max_images_per_request)
        ids = choose_ids([part.file_name for part in parts])
        images = [EncodedImage(one, part.data) for one, part in zip(ids, parts, strict=True)]
    elif media_type == "application/json":
        body = b"".join([chunk async for chunk in chunks])
        parse = on_bytes(parse_json_images, body, settings.max_images_per_request)
        images = await runtime.pool.run(parse, context.deadline)
    else:
        images = [EncodedImage("0", await _read_raw(chunks))]
    if not images:
        raise InvalidRequestError("The request holds no image. Send at least one.")
    context.timeline.fields["images"] = len(images)
    return images


async def _read_raw(chunks: AsyncIterator[bytes]) -> bytes:
    received: list[bytes] = []
    size, recognised = 0, False
    async for chunk in chunks:
        received.append(chunk)
        size += len(chunk)
        if not recognised and size >= SNIFF_BYTES:
            recognised = sniff_format(b"".join(received)[:SNIFF_BYTES]) is not None
            if not recognised:
                break
    body = b"".join(received)
    if not body:
        raise InvalidRequestError("The body is empty. Send an image.")
    if not recognised and sniff_format(body[:SNIFF_BYTES]) is None:
        raise UnsupportedMediaError(
            "The content is not a JPEG, PNG or DICOM Part 10 file. Send one of these, "
            "multipart/form-data with parts named files, or application/json."
        )
    return body
