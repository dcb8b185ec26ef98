"""What the OpenAPI document says of an inference request's body."""

from __future__ import annotations

from typing import Any

from service.http.examples import EXAMPLE_BASE64
from service.http.v2.tensors import IMAGE_BYTES
from service.http.v2.wire import InferRequest

_INPUT = {"name": IMAGE_BYTES, "shape": [1], "datatype": "BYTES", "data": [EXAMPLE_BASE64]}


def _resolve(schema: Any, definitions: dict[str, Any]) -> Any:
    """Put definitions where they are referred to: OpenAPI would not find them."""
    if isinstance(schema, list):
        return [_resolve(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return _resolve(definitions[name] | siblings, definitions)
    return {key: _resolve(value, definitions) for key, value in schema.items() if key != "$defs"}


def _request_schema() -> dict[str, Any]:
    schema = InferRequest.model_json_schema()
    resolved: dict[str, Any] = _resolve(schema, schema["$defs"])
    return resolved


INFER_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": _request_schema(),
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
