"""What the OpenAPI document says of an inference request's body."""

from __future__ import annotations

from typing import Any

from service.http.examples import EXAMPLE_BASE64
from service.http.v2.tensors import IMAGE_BYTES
from service.http.v2.wire import InferRequest
from service.web.schemas import schema_of

_INPUT = {"name": IMAGE_BYTES, "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_BASE64]}


INFER_BODY: dict[str, Any] = {
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
                    "summary": "The same; who names no outputs gets all",
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

INFER_EXTRA: dict[str, Any] = {
    "requestBody": INFER_BODY,
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
