"""From the bytes of a body to the protocol's request, in bounds. Not for the event loop."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from service.errors import InvalidRequestError, PayloadTooLargeError
from service.http.json_body import BYTE_ORDER_MARK, describe_invalid
from service.http.v2.wire import InferRequest

MAX_MEMBERS = 1000  # of all objects together; a request of every tensor there is has about 100
SPARE_VALUES = 1000  # beside those of the tensor: shapes, parameters, members


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes:
        images: Most images.
        side_px: Side of the model's input.
    """

    images: int
    side_px: int

    @property
    def values(self) -> int:
        """Most values of its tensor."""
        return self.images * self.side_px * self.side_px

    @property
    def rows(self) -> int:
        """Most lists its tensor can be nested into."""
        return self.images * (self.side_px + 2) + 1


def parse_body(text: memoryview, limits: Limits) -> InferRequest:
    """Read the JSON of a request.

    Raises:
        InvalidRequestError: It is not that JSON; a member is unknown, or given twice.
        PayloadTooLargeError: It holds more values than the images of a request have.
    """
    raw = bytes(text).removeprefix(BYTE_ORDER_MARK)
    _verify_size(raw, limits)
    try:
        parsed = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique_members, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise InvalidRequestError(
            "The JSON is not valid: it is malformed, not UTF-8, nested too deep, or has a member "
            "twice. With binary tensors, Inference-Header-Content-Length tells where it ends."
        ) from None
    try:
        return InferRequest.model_validate(parsed)
    except ValidationError as error:
        raise InvalidRequestError(
            f"{describe_invalid(error)} See the Open Inference Protocol, version 2."
        ) from None


def _verify_size(raw: bytes, limits: Limits) -> None:
    """Refuse, before it is parsed, what would take many times its size as Python objects."""
    if (
        raw.count(b":") > MAX_MEMBERS
        or raw.count(b",") > limits.values + SPARE_VALUES
        or raw.count(b"[") + raw.count(b"{") > limits.rows + SPARE_VALUES
    ):
        raise PayloadTooLargeError(
            f"The JSON holds more than {limits.images} images of {limits.side_px} x "
            f"{limits.side_px} pixels can. Send fewer images, or binary tensors."
        )


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")
