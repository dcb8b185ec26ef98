"""POST /v2/models/{name}[/versions/{version}]/infer."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.http.openapi import EXAMPLE_BASE64
from service.http.receive import accepted
from service.http.v2.answer import render_answer
from service.http.v2.errors import (
    PREFIX,
    answer_image_failure,
    error_responses,
    verify_no_query,
)
from service.http.v2.receive import read_call
from service.http.v2.tensors import IMAGE_BYTES
from service.http.v2.wire import InferAnswer, InferRequest
from service.models.predictor import ImageFailure, Prediction
from service.web.documented import schema_of
from service.web.problems import problem_type_of
from service.web.requests import context_of

router = APIRouter(prefix=PREFIX, tags=["open inference protocol"])

_ERRORS = error_responses(400, 404, 408, 413, 415, 422, 429, 500, 503, 504)

_INPUT = {"name": IMAGE_BYTES, "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_BASE64]}


_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": schema_of(InferRequest),
            "examples": {
                "one file": {
                    "summary": "A made-up radiograph of 96 x 96 pixels, in base64",
                    "value": {
                        "id": "example",
                        "inputs": [_INPUT],
                        "outputs": [{"name": "decision"}, {"name": "probability"}],
                    },
                },
                "all outputs": {
                    "summary": "The same with all outputs, the default",
                    "value": {"inputs": [_INPUT]},
                },
            },
        },
        "application/octet-stream": {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "The JSON, as long as Inference-Header-Content-Length says, then "
                "the tensors whose parameters have binary_data_size.",
            }
        },
    },
}

_EXTRA: dict[str, Any] = {
    "requestBody": _BODY,
    "parameters": [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "required": False,
            "description": "Length of the JSON in bytes, if tensors follow it.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
}


@router.post(
    "/models/{name}/infer",
    summary="Read radiographs as tensors",
    response_model=InferAnswer,
    responses=_ERRORS,
    openapi_extra=_EXTRA,
)
async def infer(request: Request, name: str) -> Response:
    """The answers of /v1/predict as tensors.

    Exactly one input: `image_bytes`, whole JPEG, PNG or DICOM files, or `image`, model inputs. One
    bad image fails the request: the protocol cannot represent less. Research use only, not a
    medical device.
    """
    return await _infer(request, name, None)


@router.post(
    "/models/{name}/versions/{version}/infer",
    summary="Read radiographs as tensors, by a version",
    response_model=InferAnswer,
    responses=_ERRORS,
    openapi_extra=_EXTRA,
)
async def infer_version(request: Request, name: str, version: str) -> Response:
    """As without a version; 404 if that version is not loaded."""
    return await _infer(request, name, version)


async def _infer(request: Request, name: str, version: str | None) -> Response:
    verify_no_query(request)
    with accepted(request, name, None, version) as prediction:
        call, outcomes = await read_call(request, prediction)
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, ImageFailure):
                context = context_of(request)
                context.timeline.fail(problem_type_of(outcome.error).slug, of_image=True)
                return answer_image_failure(request.scope, index, outcome.error, context.request_id)
        answered = [one for one in outcomes if isinstance(one, Prediction)]
        # Many embeddings as JSON take long: not on the event loop.
        return await asyncio.to_thread(
            render_answer, answered, call, prediction.served, prediction.point.name
        )
