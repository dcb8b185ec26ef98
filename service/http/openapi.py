"""What the OpenAPI document says beyond the routes' own types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from service.answers import Problem
from service.http.examples import EXAMPLE_BASE64
from service.http.json_body import JsonImage, JsonRequest
from service.web.schemas import schema_of

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

File = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]


class ImagesRequest(JsonRequest):
    """Images as JSON, in base64."""


class OneImageRequest(JsonRequest):
    """One image as JSON, in base64."""

    images: list[JsonImage] = Field(min_length=1, max_length=1)


class ImagesForm(BaseModel):
    """Images as parts of a form, each named `files`."""

    files: list[File] = Field(
        min_length=1,
        description="One part named `files` for each image. A file in a part of another name is "
        "read, too. An image is called in the answer as its file, without folders, if it alone is "
        "called so; else by its position, from 0.",
    )


class OneImageForm(BaseModel):
    """One image as the part `files` of a form."""

    files: list[File] = Field(min_length=1, max_length=1, description="One part named `files`.")


class FhirResource(BaseModel):
    """A FHIR R4 resource: a DiagnosticReport, or of several images a Bundle of them."""

    model_config = ConfigDict(extra="allow")

    resource_type: Literal["DiagnosticReport", "Bundle"] = Field(alias="resourceType")


BODIES = (Problem, ImagesRequest, OneImageRequest, ImagesForm, OneImageForm, FhirResource)
"""Those that are read or written by hand, not by FastAPI."""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_EXAMPLE = {
    "summary": "A made-up radiograph of 96 x 96 pixels",
    "value": {"images": [{"id": "example", "data": EXAMPLE_BASE64}]},
}
_TWO_EXAMPLES = {
    "summary": "Twice the same, ids left to the service",
    "value": {"images": [{"data": EXAMPLE_BASE64}, {"data": EXAMPLE_BASE64}]},
}


def _body(
    request: type[BaseModel], form: type[BaseModel], examples: dict[str, Any]
) -> dict[str, Any]:
    """Describe a body of images.

    Of a raw body only the type for any file is listed: most generators of clients know no other
    for bytes, and the service goes by the content.
    """
    return {
        "required": True,
        "description": "A JPEG, PNG or DICOM file as it is, sent as application/octet-stream or "
        "as what it is (image/jpeg, image/png, application/dicom): its content tells. Or images "
        "in a form, or in JSON.",
        "content": {
            "application/json": {"schema": schema_of(request), "examples": examples},
            "multipart/form-data": {"schema": schema_of(form)},
            "application/octet-stream": _BINARY,
        },
    }


PREDICT_BODY = _body(
    ImagesRequest, ImagesForm, {"one image": _EXAMPLE, "two images": _TWO_EXAMPLES}
)
EXPLAIN_BODY = _body(OneImageRequest, OneImageForm, {"one image": _EXAMPLE})

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
            "application/fhir+json": {
                "schema": schema_of(FhirResource),
                "example": _FHIR_EXAMPLE,
            },
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
