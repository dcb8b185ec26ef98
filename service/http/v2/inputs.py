"""From an input tensor to images. Not for the event loop.

Sizes are compared before allocating: a shape can neither overflow nor claim memory.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequestError, PayloadTooLargeError
from service.http.v2.tensors import IMAGE, IMAGE_BYTES, split_elements
from service.http.v2.wire import InputTensor

Files: TypeAlias = list[bytes]
"""One encoded image each."""

Pixels: TypeAlias = NDArray[np.uint8]
"""Model inputs, shape (N, 1, S, S)."""


@dataclass(frozen=True)
class Limits:
    """What a request may hold, for inputs of ``side_px``."""

    images: int
    side_px: int

    @property
    def values(self) -> int:
        """Most tensor values."""
        return self.images * self.side_px * self.side_px

    @property
    def rows(self) -> int:
        """Most lists the tensor may be nested into."""
        return self.images * (self.side_px + 2) + 1


def read_input(inputs: list[InputTensor], tail: memoryview, limits: Limits) -> Files | Pixels:
    """Read the images from the one input, or from the tail after the JSON.

    Raises:
        InvalidRequestError: The tensor is malformed.
        PayloadTooLargeError: There are too many images.
    """
    if len(inputs) != 1:
        raise InvalidRequestError(
            f"The request has {len(inputs)} inputs. Give exactly one: {IMAGE_BYTES} (files) or "
            f"{IMAGE} (model inputs)."
        )
    tensor = inputs[0]
    if tensor.name not in (IMAGE_BYTES, IMAGE):
        raise InvalidRequestError(f"Unknown input. Known are: {IMAGE_BYTES}, {IMAGE}.")
    _verify_form(tensor, limits)
    binary = _binary_part(tensor, tail)
    if tensor.name == IMAGE_BYTES:
        return _read_files(tensor, binary)
    return _read_pixels(tensor, binary)


def _verify_form(tensor: InputTensor, limits: Limits) -> None:
    side, datatype = limits.side_px, "UINT8"
    known: tuple[list[int], ...] = ([1, side, side],)
    wanted = f"[N, 1, {side}, {side}]"
    if tensor.name == IMAGE_BYTES:
        datatype, known, wanted = "BYTES", ([], [1]), "[N] or [N, 1]"
    if tensor.datatype != datatype:
        raise InvalidRequestError(f"The datatype of {tensor.name} is {datatype}.")
    if not tensor.shape or tensor.shape[0] < 1 or tensor.shape[1:] not in known:
        raise InvalidRequestError(
            f"The shape of {tensor.name} is {wanted}, N the number of images, at least 1."
        )
    if tensor.shape[0] > limits.images:
        raise PayloadTooLargeError(f"At most {limits.images} images are accepted in one request.")


def _binary_part(tensor: InputTensor, tail: memoryview) -> memoryview | None:
    size = None if tensor.parameters is None else tensor.parameters.binary_data_size
    if (size is None) == (tensor.data is None):
        raise InvalidRequestError(
            f"Give the data of {tensor.name} either as data or, with binary_data_size, after the "
            "JSON."
        )
    if len(tail) != (size or 0):
        raise InvalidRequestError(
            f"{len(tail)} bytes follow the JSON, but binary_data_size declares {size or 0}. "
            "Inference-Header-Content-Length must be the length of the JSON."
        )
    return None if size is None else tail


def _read_files(tensor: InputTensor, binary: memoryview | None) -> Files:
    count = tensor.shape[0]
    if binary is not None:
        return split_elements(binary, count)
    return [
        _decode_base64(text, position)
        for position, text in enumerate(_flatten(tensor.data or [], tensor.shape))
    ]


def _decode_base64(text: Any, position: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else _no_text()
    except (binascii.Error, ValueError):
        raise InvalidRequestError(
            f"Element {position} of {IMAGE_BYTES} is not base64. JSON carries no bytes: send "
            "base64 with padding and without line breaks, or a binary tensor."
        ) from None


def _no_text() -> bytes:
    raise ValueError("not a text")


def _read_pixels(tensor: InputTensor, binary: memoryview | None) -> Pixels:
    expected = math.prod(tensor.shape)
    data: memoryview | bytes
    if binary is not None:
        if len(binary) != expected:
            raise InvalidRequestError(
                f"{IMAGE} has {len(binary)} bytes, but its shape {expected}: one for each pixel."
            )
        data = binary
    else:
        data = _to_bytes(_flatten(tensor.data or [], tensor.shape))
    # A copy: the body can be let go.
    return np.frombuffer(data, dtype=np.uint8).reshape(tensor.shape).copy()


def _to_bytes(values: list[Any]) -> bytes:
    if {type(value) for value in values} == {int}:  # bool is an int to bytes()
        try:
            return bytes(values)
        except ValueError:
            pass
    raise InvalidRequestError(f"The values of {IMAGE} are whole numbers from 0 to 255.")


def _flatten(data: list[Any], shape: list[int]) -> list[Any]:
    values = data
    if data and isinstance(data[0], list):
        if len(data) != shape[0]:
            raise _misshapen()
        for size in shape[1:]:
            if not all(isinstance(row, list) and len(row) == size for row in values):
                raise _misshapen()
            values = list(chain.from_iterable(values))
    if len(values) != math.prod(shape):
        raise _misshapen()
    return values


def _misshapen() -> InvalidRequestError:
    return InvalidRequestError(
        "The data does not have the shape that is declared. Send it flat, or nested as the shape."
    )
