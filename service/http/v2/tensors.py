"""The protocol's tensors."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from cxr.bundles.manifest import Manifest
from service.errors import InvalidRequestError
from service.http.v2.wire import TensorMetadata

IMAGE_BYTES = "image_bytes"
"""Whole JPEG, PNG or DICOM files."""

IMAGE = "image"
"""What the graph takes: radiographs the client has resized itself."""

ANY = -1

LENGTH = struct.Struct("<I")
"""Before each element of a BYTES tensor: its length, 4 bytes, little-endian."""


def input_tensors(manifest: Manifest) -> tuple[TensorMetadata, ...]:
    """Return the inputs; a request holds one."""
    side = manifest.preprocessing.size_px
    return (
        TensorMetadata(name=IMAGE_BYTES, datatype="BYTES", shape=(ANY,)),
        TensorMetadata(name=IMAGE, datatype="UINT8", shape=(ANY, 1, side, side)),
    )


def output_tensors(manifest: Manifest) -> tuple[TensorMetadata, ...]:
    """Return the outputs, all returned by default."""
    classes, features = len(manifest.task.classes), manifest.tensors.embedding_size
    forms: dict[str, tuple[str, tuple[int, ...]]] = {
        "decision": ("BYTES", (ANY,)),
        "label": ("BYTES", (ANY,)),
        "probability": ("FP32", (ANY,)),
        "in_scope": ("BOOL", (ANY,)),
        "reasons": ("BYTES", (ANY,)),
        "population": ("BYTES", (ANY,)),
        "warnings": ("BYTES", (ANY,)),
        "probabilities": ("FP32", (ANY, classes)),
        "logits": ("FP32", (ANY, classes)),
        "embedding": ("FP32", (ANY, features)),
    }
    return tuple(
        TensorMetadata(name=name, datatype=datatype, shape=shape)
        for name, (datatype, shape) in forms.items()
    )


def split_elements(data: memoryview, count: int) -> list[bytes]:
    """Split a BYTES tensor, allocating nothing for the declared count alone.

    Raises:
        InvalidRequestError: Lengths, size and count disagree.
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
    """Join elements into a BYTES tensor."""
    return b"".join(LENGTH.pack(len(one)) + one for one in elements)
