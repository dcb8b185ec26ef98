"""Tensors as bytes: the protocol's binary tensor data extension."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from service.errors import InvalidRequestError

LENGTH = struct.Struct("<I")
"""Before each element of a BYTES tensor: its length, 4 bytes, little-endian."""


def split_body(body: bytes, header_length: int | None) -> tuple[memoryview, memoryview]:
    """Part the JSON from the tensors after it.

    Args:
        body: The whole body.
        header_length: Bytes of the JSON; None if there is nothing else.

    Raises:
        InvalidRequestError: The body is shorter than that.
    """
    whole = memoryview(body)
    if header_length is None:
        return whole, whole[:0]
    if header_length > len(whole):
        raise InvalidRequestError(
            "Inference-Header-Content-Length is larger than the body. Give the length of the JSON."
        )
    return whole[:header_length], whole[header_length:]


def split_elements(data: memoryview, count: int) -> list[bytes]:
    """Take the elements out of a BYTES tensor.

    Args:
        data: The tensor, no more and no less.
        count: Elements its shape declares; nothing is allocated on its word.

    Raises:
        InvalidRequestError: The lengths in it, its size and ``count`` do not agree.
    """
    elements: list[bytes] = []
    position = 0
    while position < len(data) and len(elements) < count:
        if len(data) - position < LENGTH.size:
            break
        (size,) = LENGTH.unpack_from(data, position)
        position += LENGTH.size
        if size > len(data) - position:
            raise InvalidRequestError(
                f"Element {len(elements)} of the BYTES tensor is cut off. Send each as its length "
                "in 4 bytes, little-endian, and its bytes."
            )
        elements.append(bytes(data[position : position + size]))
        position += size
    if position != len(data) or len(elements) != count:
        raise InvalidRequestError(
            "The BYTES tensor does not hold as many elements as its shape declares."
        )
    return elements


def join_elements(elements: Iterable[bytes]) -> bytes:
    """Put elements into a BYTES tensor."""
    return b"".join(LENGTH.pack(len(one)) + one for one in elements)
