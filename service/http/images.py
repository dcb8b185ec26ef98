"""The images of a request, whichever way they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from starlette.requests import Request

from cxr.errors import UnsupportedMediaError
from cxr.images.decoding import SNIFF_BYTES, sniff_format
from service.errors import InvalidRequestError
from service.http.context import runtime_of
from service.http.form import choose_ids, read_parts
from service.http.json_body import parse_json_images
from service.models.predictor import EncodedImage
from service.web.body import Lease, read_chunks
from service.web.body_rate import BodyRate
from service.web.requests import context_of


async def read_images(request: Request, lease: Lease) -> list[EncodedImage]:
    """Read the images of a request: a raw body, multipart/form-data or JSON.

    Args:
        request: Its Content-Type tells multipart and JSON from a raw body; what a raw body
            is, its content tells.
        lease: Grows with what was read.

    Raises:
        ServingError: The request cannot be read; the subclass says why.
        UnsupportedMediaError: A raw body is not a JPEG, PNG or DICOM file.
    """
    settings = runtime_of(request).settings
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaError(
            "The body has a Content-Encoding. Send it without one; images are compressed already."
        )
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    deadline, rate = context_of(request).deadline, BodyRate.of(settings)
    chunks = read_chunks(request, settings.max_body_bytes, lease, deadline, rate)
    if media_type == "multipart/form-data":
        parts = await read_parts(content_type, chunks, settings.max_images_per_request)
        ids = choose_ids([part.file_name for part in parts])
        images = [EncodedImage(one, part.data) for one, part in zip(ids, parts, strict=True)]
    elif media_type == "application/json":
        images = await _read_json(request, chunks)
    else:
        images = [EncodedImage("0", await _read_raw(chunks))]
    if not images:
        raise InvalidRequestError("The request holds no image. Send at least one.")
    context_of(request).timeline.fields["images"] = len(images)
    return images


async def _read_json(request: Request, chunks: AsyncIterator[bytes]) -> list[EncodedImage]:
    body = b"".join([chunk async for chunk in chunks])
    runtime = runtime_of(request)
    parse = partial(parse_json_images, body, runtime.settings.max_images_per_request)
    return await runtime.pool.run(parse, context_of(request).deadline)


async def _read_raw(chunks: AsyncIterator[bytes]) -> bytes:
    """Read one file; what is none is refused after its first bytes."""
    received: list[bytes] = []
    size, recognised = 0, False
    async for chunk in chunks:
        received.append(chunk)
        size += len(chunk)
        if not recognised and size >= SNIFF_BYTES:
            _verify_format(b"".join(received))
            recognised = True
    body = b"".join(received)
    if not body:
        raise InvalidRequestError("The body is empty. Send an image.")
    if not recognised:
        _verify_format(body)
    return body


def _verify_format(head: bytes) -> None:
    if sniff_format(head[:SNIFF_BYTES]) is None:
        raise UnsupportedMediaError(
            "The content is not a JPEG, PNG or DICOM Part 10 file. Send one of these, "
            "multipart/form-data with parts named files, or application/json."
        )
