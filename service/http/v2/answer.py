"""From predictions to the protocol's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from service.answers import ImageResult
from service.http.v2.call import Call
from service.http.v2.tensors import join_elements
from service.http.v2.wire import (
    InferAnswer,
    InferAnswerParameters,
    OutputAnswer,
    OutputAnswerParameters,
)
from service.models.models import ServedModel
from service.models.predictor import Prediction

HEADER_LENGTH = "Inference-Header-Content-Length"

NUMBERS = {"FP32": np.dtype("<f4"), "BOOL": np.dtype("?")}
"""Datatypes with a fixed size, as they are sent."""

OF_RESULTS: Mapping[str, Callable[[ImageResult], Any]] = {
    "decision": lambda result: result.decision,
    "probability": lambda result: result.probability,
    "label": lambda result: result.label or "",  # a tensor has no null
    "in_scope": lambda result: result.scope.in_scope,
    "reasons": lambda result: " ".join(result.scope.reasons),
    "warnings": lambda result: " ".join(result.warnings),
    "population": lambda result: "" if result.population is None else result.population.name,
}
"""Outputs that results hold; the engine answered the others."""


def render_answer(
    answered: Sequence[Prediction], call: Call, served: ServedModel, point: str
) -> Response:
    """Render the predictions' response. Any thread."""
    outputs: list[OutputAnswer] = []
    parts: list[bytes] = []
    for wanted in call.outputs:
        tensor = wanted.tensor
        values = _values_of(tensor.name, answered)
        shape = (len(answered), *tensor.shape[1:])
        if wanted.binary:
            part = _to_bytes(values, tensor.datatype)
            parts.append(part)
            where: dict[str, Any] = {
                "parameters": OutputAnswerParameters(binary_data_size=len(part))
            }
        else:
            where = {"data": _to_json(values, tensor.datatype)}
        outputs.append(
            OutputAnswer(name=tensor.name, shape=shape, datatype=tensor.datatype, **where)
        )
    answer = InferAnswer(
        model_name=served.manifest.name,
        model_version=served.manifest.version,
        id=call.id,
        parameters=InferAnswerParameters(operating_point=point),
        outputs=tuple(outputs),
    )
    text = answer.model_dump_json(exclude_none=True).encode()
    if not parts:
        return Response(text, media_type="application/json")
    return Response(
        b"".join([text, *parts]),
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(len(text))},
    )


def _values_of(name: str, answered: Sequence[Prediction]) -> list[Any]:
    read = OF_RESULTS.get(name)
    if read is None:
        return [getattr(one.row, name) for one in answered]
    return [read(one.result) for one in answered]


def _to_bytes(values: list[Any], datatype: str) -> bytes:
    if datatype == "BYTES":
        return join_elements(text.encode() for text in values)
    return _to_array(values, datatype).tobytes()


def _to_json(values: list[Any], datatype: str) -> list[Any]:
    if datatype == "BYTES":
        return values
    flat: list[Any] = _to_array(values, datatype).ravel().tolist()
    return flat


def _to_array(values: list[Any], datatype: str) -> NDArray[Any]:
    return np.asarray(values, dtype=NUMBERS[datatype])
