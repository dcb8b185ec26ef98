"""Which tensors go in and come out."""

from __future__ import annotations

from cxr.bundles.manifest import Manifest
from service.http.v2.wire import TensorMetadata

IMAGE_BYTES = "image_bytes"
"""Whole JPEG, PNG or DICOM files."""

IMAGE = "image"
"""What the graph takes: radiographs the client has resized itself."""

ANY = -1


def input_tensors(manifest: Manifest) -> tuple[TensorMetadata, ...]:
    """Give the inputs, of which a request holds exactly one."""
    side = manifest.preprocessing.size_px
    return (
        TensorMetadata(name=IMAGE_BYTES, datatype="BYTES", shape=(ANY,)),
        TensorMetadata(name=IMAGE, datatype="UINT8", shape=(ANY, 1, side, side)),
    )


def output_tensors(manifest: Manifest) -> tuple[TensorMetadata, ...]:
    """Give the outputs, all of which are answered to who names none."""
    classes, features = len(manifest.task.classes), manifest.tensors.embedding_size
    forms: dict[str, tuple[str, tuple[int, ...]]] = {
        "decision": ("BYTES", (ANY,)),
        "label": ("BYTES", (ANY,)),
        "probability": ("FP32", (ANY,)),
        "in_scope": ("BOOL", (ANY,)),
        "reasons": ("BYTES", (ANY,)),
        "probabilities": ("FP32", (ANY, classes)),
        "logits": ("FP32", (ANY, classes)),
        "embedding": ("FP32", (ANY, features)),
    }
    return tuple(
        TensorMetadata(name=name, datatype=datatype, shape=shape)
        for name, (datatype, shape) in forms.items()
    )
