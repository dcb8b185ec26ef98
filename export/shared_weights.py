"""Graphs whose weights lie in a safetensors file beside them, so that a bundle has them once.

A safetensors file is eight bytes of the header's length, a JSON header with each tensor's place,
and the tensors' bytes, little-endian: what ONNX calls external data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

HALF_SUFFIX = ".half"

TYPES = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16}
"""Number formats that float32 holds exactly, by safetensors' names."""


def share_weights(model: onnx.ModelProto, prefix: str, weights: Path) -> onnx.ModelProto:
    """Return a graph that reads its weights from a safetensors file in the same folder.

    Initializers called ``prefix`` and a tensor's name become external data, if they are equal to
    it; float16 is cast to float32 in the graph, which engines do once when they load it.

    Args:
        model: In float32; not changed.
        prefix: Of the initializers' names.
        weights: The safetensors file.
    """
    shared = onnx.ModelProto()
    shared.CopyFrom(model)
    tensors, places = load_file(weights), _read_places(weights)
    casts, initializers = [], []
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix(prefix)
        place = places.get(name)
        if place is None or not _is_same(tensor, tensors[name], place["dtype"]):
            initializers.append(tensor)
            continue
        external = _external(tensor, place, weights.name)
        if external.data_type == TensorProto.FLOAT16:
            external.name += HALF_SUFFIX
            cast = helper.make_node(
                "Cast", [external.name], [tensor.name], name=tensor.name, to=TensorProto.FLOAT
            )
            casts.append(cast)
        initializers.append(external)
    graph = shared.graph
    del graph.node[:], graph.initializer[:]
    graph.node.extend([*casts, *model.graph.node])
    graph.initializer.extend(initializers)
    return shared


def _read_places(weights: Path) -> dict[str, dict[str, Any]]:
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    start = 8 + length
    for place in header.values():
        place["data_offsets"] = [start + offset for offset in place["data_offsets"]]
    return header


def _is_same(tensor: TensorProto, stored: np.ndarray, dtype: str) -> bool:
    if dtype not in TYPES or tensor.data_type != TensorProto.FLOAT:
        return False
    return np.array_equal(numpy_helper.to_array(tensor), stored.astype(np.float32))


def _external(tensor: TensorProto, place: dict[str, Any], file_name: str) -> TensorProto:
    begin, end = place["data_offsets"]
    external = TensorProto(
        name=tensor.name,
        dims=tensor.dims,
        data_type=TYPES[place["dtype"]],
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in (("location", file_name), ("offset", begin), ("length", end - begin)):
        external.external_data.add(key=key, value=str(value))
    return external
