"""OpenAPI beyond the routes' types."""

from __future__ import annotations

import base64
import io
from typing import Annotated, Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field, WithJsonSchema

from service.answers import Problem
from service.http.formats.format import BINARY
from service.http.formats.registry import (
    EXPLAIN_FORMATS,
    PREDICT_FORMATS,
    RENDER_FORMATS,
    SCHEMAS,
    content_of,
)
from service.http.json_body import JsonImage, JsonRequest
from service.web.documented import schema_of

TITLE = "Chest radiograph inference"
DESCRIPTION = """\
Reads frontal chest radiographs: is the model's finding present (pneumonia by default), how
probable is it, and is the image within the model's scope at all.

**Research use only, not a medical device.** No answer of this service may be used for the
care of a patient.

Send JPEG, PNG or DICOM (Part 10); the type is detected from the content. Every error is
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

SIDE_PX = 96
GREY_STEP = 16  # few grey levels compress to about a kilobyte

File = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]


def _render_example() -> bytes:
    # Two dark lungs beside a bright spine: nobody's radiograph.
    y, x = np.mgrid[-1.0 : 1.0 : SIDE_PX * 1j, -1.0 : 1.0 : SIDE_PX * 1j]
    image = 190.0 - 90.0 * (np.abs(x) > 0.9)
    for centre in (-0.45, 0.45):
        image -= 130.0 * np.exp(-(((x - centre) / 0.28) ** 2) - (y / 0.65) ** 2)
    levels = (np.clip(image, 0, 255) // GREY_STEP * GREY_STEP).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


EXAMPLE_BASE64 = base64.b64encode(_render_example()).decode("ascii")


class ImagesRequest(JsonRequest):
    """Images as JSON, in base64."""


class OneImageRequest(JsonRequest):
    """One image as JSON, in base64."""

    images: list[JsonImage] = Field(min_length=1, max_length=1)


class ImagesForm(BaseModel):
    """Images as parts of a form, each named `files`."""

    files: list[File] = Field(
        min_length=1,
        description="One part named `files` for each image. Files in parts of other names are "
        "read, too. The id of an image is its file name without folders if that is unique; "
        "otherwise its position, from 0.",
    )


class OneImageForm(BaseModel):
    """One image as the part `files` of a form."""

    files: list[File] = Field(min_length=1, max_length=1, description="One part named `files`.")


BODIES: tuple[type[BaseModel], ...] = (
    Problem,
    ImagesRequest,
    OneImageRequest,
    ImagesForm,
    OneImageForm,
    *SCHEMAS,
)
"""Those that are read or written by hand, not by FastAPI."""

_EXAMPLE = {
    "summary": "A made-up radiograph of 96 x 96 pixels",
    "value": {"images": [{"id": "example", "data": EXAMPLE_BASE64}]},
}
_TWO_EXAMPLES = {
    "summary": "The same twice, with ids chosen by the service",
    "value": {"images": [{"data": EXAMPLE_BASE64}, {"data": EXAMPLE_BASE64}]},
}


def _body(
    request: type[BaseModel], form: type[BaseModel], examples: dict[str, Any]
) -> dict[str, Any]:
    return {
        "required": True,
        "description": "A JPEG, PNG or DICOM file, sent as application/octet-stream or under its "
        "own type (image/jpeg, image/png, application/dicom): the content decides. Or images in a "
        "form or in JSON.",
        "content": {
            "application/json": {"schema": schema_of(request), "examples": examples},
            "multipart/form-data": {"schema": schema_of(form)},
            "application/octet-stream": BINARY,
        },
    }


PREDICT_BODY = _body(
    ImagesRequest, ImagesForm, {"one image": _EXAMPLE, "two images": _TWO_EXAMPLES}
)
EXPLAIN_BODY = _body(OneImageRequest, OneImageForm, {"one image": _EXAMPLE})

PREDICT_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A result for each image, in the format that the Accept header asks for. "
        "In DICOM and FHIR a failed image fails the request: 422, one of many with "
        "`some-images-failed`. 406 if a DICOM answer is requested for another image.",
        "content": content_of(PREDICT_FORMATS),
    }
}

EXPLAIN_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The prediction with its explanation, or the overlay alone; in DICOM a "
        "Secondary Capture, or a structured report and a Secondary Capture",
        "content": content_of(EXPLAIN_FORMATS),
    }
}


RENDER_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture with its window, or the picture alone",
        "content": content_of(RENDER_FORMATS),
    }
}
