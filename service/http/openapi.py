"""What the OpenAPI document says beyond the routes' own types."""

from __future__ import annotations

from typing import Any

from service.http.examples import EXAMPLE_BASE64
from service.http.json_body import JsonImage, JsonRequest

TITLE = "Chest radiograph inference"
DESCRIPTION = """\
Reads frontal chest radiographs: is the model's finding present (pneumonia, unless it says
otherwise), how probable is it, and may this image be read by the model at all.

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
                        "description": "One part named `files` for each image. A file in a part of "
                        "another name is read, too. An image is called in the answer as its file, "
                        "without folders, if it alone is called so; else by its position, from 0.",
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
    "conclusion": "Signs of pneumonia: likely. The probability of pneumonia, 97.3 %, is at or "
    "above 70.3 %, the upper end of the range in which the model abstains. Operating point "
    "balanced. Research use only. Not a medical device.",
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
