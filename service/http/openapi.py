"""What the OpenAPI document says beyond the routes' own types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI

from service.answers import Problem
from service.http.examples import EXAMPLE_BASE64
from service.http.json_body import JsonImage, JsonRequest
from service.http.problems import ALL_PROBLEM_TYPES, MEDIA_TYPE, ProblemType

TITLE = "Chest radiograph inference"
DESCRIPTION = """\
Reads frontal chest radiographs: is pneumonia present, how probable is it, and may this image
be read by the model at all.

**Research use only, not a medical device.** No answer of this service may be used for the
care of a patient.

Send JPEG, PNG or DICOM (Part 10); the type is taken from the content. Every error is
RFC 9457 problem+json with a stable `type`.
"""

TAGS = [
    {"name": "inference", "description": "Images in, decisions out."},
    {"name": "models", "description": "What is loaded, and how good it is."},
    {"name": "health", "description": "Probes."},
    {
        "name": "open inference protocol",
        "description": "The protocol of KServe and Triton, version 2, binary tensors included.",
    },
]


def _json_request_schema(most_images: int | None = None) -> dict[str, Any]:
    """Give the schema of the JSON body without references, which OpenAPI would not resolve."""
    schema = JsonRequest.model_json_schema()
    schema["properties"]["images"]["items"] = schema.pop("$defs")[JsonImage.__name__]
    if most_images is not None:
        schema["properties"]["images"]["maxItems"] = most_images
    return schema


_BINARY = {"schema": {"type": "string", "format": "binary"}}

PREDICT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": _json_request_schema(),
            "examples": {
                "one image": {
                    "summary": "A made-up radiograph of 96 x 96 pixels",
                    "value": {"images": [{"id": "example", "data": EXAMPLE_BASE64}]},
                },
                "two images": {
                    "summary": "Twice the same, ids left to the service",
                    "value": {"images": [{"data": EXAMPLE_BASE64}, {"data": EXAMPLE_BASE64}]},
                },
            },
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files"],
                "properties": {
                    "files": {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "binary"},
                        "description": "One part named `files` for each image.",
                    }
                },
            }
        },
        "image/jpeg": _BINARY,
        "image/png": _BINARY,
        "application/dicom": _BINARY,
        "application/octet-stream": _BINARY,
    },
}

EXPLAIN_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        **PREDICT_BODY["content"],
        "application/json": {
            "schema": _json_request_schema(most_images=1),
            "examples": {
                "one image": PREDICT_BODY["content"]["application/json"]["examples"]["one image"]
            },
        },
    },
}

_FHIR_EXAMPLE = {
    "resourceType": "DiagnosticReport",
    "contained": [
        {"resourceType": "Device", "id": "device", "manufacturer": "cxr-inference"},
        {
            "resourceType": "Observation",
            "id": "finding",
            "status": "preliminary",
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "233604007"}]},
            "valueCodeableConcept": {
                "coding": [{"system": "http://snomed.info/sct", "code": "52101004"}]
            },
            "device": {"reference": "#device"},
        },
    ],
    "status": "preliminary",
    "code": {"coding": [{"system": "http://loinc.org", "code": "18748-4"}]},
    "imagingStudy": [
        {
            "type": "ImagingStudy",
            "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.826.0.1"},
        }
    ],
    "result": [{"reference": "#finding"}],
    "conclusion": "Pneumonia present: probability 0.973, operating point balanced.",
}

PREDICT_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A result for each image, in the form the Accept header asks for. No image "
        "may fail where it is DICOM or FHIR: one that does is 422, one of many "
        "`some-images-failed`. 406 if an image is no DICOM and the answer would be.",
        "content": {
            "application/dicom": _BINARY,
            'multipart/related; type="application/dicom"': _BINARY,
            "application/fhir+json": {"schema": {"type": "object"}, "example": _FHIR_EXAMPLE},
        },
    }
}

EXPLAIN_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The prediction with its explanation; the overlay alone; as DICOM, a "
        "Secondary Capture of it, or a structured report and that",
        "content": {
            "image/png": _BINARY,
            "application/dicom": _BINARY,
            'multipart/related; type="application/dicom"': _BINARY,
        },
    }
}


RENDER_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture with its window, or the picture alone",
        "content": {"image/png": _BINARY},
    }
}


def drop_validation_errors(document: dict[str, Any]) -> None:
    """Take out the 422 that FastAPI documents by itself: here such a request gets 400."""
    for path in document["paths"].values():
        for operation in path.values():
            content = operation["responses"].get("422", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            if schema.get("$ref", "").endswith("/HTTPValidationError"):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


class DocumentedApplication(FastAPI):
    """FastAPI whose OpenAPI document says what is really answered."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document."""
        if self.openapi_schema is None:
            drop_validation_errors(super().openapi())
        return super().openapi()


def problem_responses(
    *statuses: int, kinds: Iterable[ProblemType] = ALL_PROBLEM_TYPES
) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI responses of the problems with these statuses.

    Args:
        *statuses: HTTP statuses.
        kinds: The problems there are.
    """
    known = sorted(kinds, key=lambda kind: kind.slug)
    return {
        status: _problem_response(status, [kind for kind in known if kind.status == status])
        for status in statuses
    }


def _problem_response(status: int, kinds: list[ProblemType]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {
            MEDIA_TYPE: {
                "schema": Problem.model_json_schema(),
                "examples": {
                    kind.slug: {
                        "value": {
                            "type": kind.type,
                            "title": kind.title,
                            "status": kind.status,
                            "detail": "What was wrong, and what to do.",
                            "request_id": "8f14e45fceea167a",
                        }
                    }
                    for kind in kinds
                },
            }
        },
    }
    if status in (429, 503, 507):
        response["headers"] = {
            "Retry-After": {
                "description": "Seconds after which to try again.",
                "schema": {"type": "integer"},
            }
        }
    return response
