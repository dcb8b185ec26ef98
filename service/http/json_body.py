"""Images in JSON, base64."""

from __future__ import annotations

import base64
import binascii
import codecs

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import InvalidRequestError, PayloadTooLargeError
from service.models.predictor import EncodedImage

BYTE_ORDER_MARK = codecs.BOM_UTF8
"""Some clients put it before JSON; a parser may ignore it (RFC 8259, 8.1), and ours refuse it."""

MAX_ID_CHARS = 128
COMMAS_PER_IMAGE = MAX_ID_CHARS + 2
"""As many as an image can have: in its id, after it, and behind the image."""


class JsonImage(BaseModel):
    """One image of a JSON request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_ID_CHARS,
        description="Names the image in the answer; its position by default.",
    )
    data: str = Field(
        description="The file, base64 (RFC 4648, section 4).",
        json_schema_extra={"contentEncoding": "base64"},
    )


class JsonRequest(BaseModel):
    """Body of a JSON request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: list[JsonImage] = Field(min_length=1)


def parse_json_images(body: bytes, max_images: int) -> list[EncodedImage]:
    """Read a JSON body's images, off the event loop.

    Raises:
        InvalidRequestError: The JSON is invalid; an image of invalid base64 carries its error.
        PayloadTooLargeError: There are too many images.
    """
    # Bad images, millions of which fit into a body, would be looked at one by one.
    if body.count(b",") > COMMAS_PER_IMAGE * max_images:
        raise _too_many(max_images)
    try:
        parsed = JsonRequest.model_validate_json(body.removeprefix(BYTE_ORDER_MARK))
    except ValidationError as error:
        raise InvalidRequestError(
            f'{describe_invalid(error)} Send {{"images": [{{"id": "a", "data": "<base64>"}}]}}.'
        ) from None
    if len(parsed.images) > max_images:
        raise _too_many(max_images)
    ids = [str(i) if image.id is None else image.id for i, image in enumerate(parsed.images)]
    if len(set(ids)) < len(ids):
        raise InvalidRequestError("Two images have the same id. Give each its own, or none.")
    return [
        _encoded_image(image_id, image.data, position)
        for position, (image_id, image) in enumerate(zip(ids, parsed.images, strict=True))
    ]


def _too_many(max_images: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"At most {max_images} images are accepted in one request.")


def describe_invalid(error: ValidationError) -> str:
    """Say where JSON is invalid, without quoting the client."""
    first = error.errors(include_input=False, include_context=False)[0]
    # An unknown member is the client's own text; only where it stands is repeated.
    known = first["loc"][:-1] if first["type"] == "extra_forbidden" else first["loc"]
    where = ".".join(str(part) for part in known) or "the body"
    return f"The JSON is not valid at {where}: {first['msg']}."


def _encoded_image(image_id: str, text: str, position: int) -> EncodedImage:
    try:
        return EncodedImage(image_id, base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        error = InvalidRequestError(
            f"images.{position}.data is not base64. Use the standard alphabet with padding, "
            "without line breaks and without a data: prefix."
        )
        return EncodedImage(image_id, b"", error)
