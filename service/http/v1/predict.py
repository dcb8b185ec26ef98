"""POST /v1/predict."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answers import PredictAnswer
from service.http.formats.format import PredictOutcomes
from service.http.formats.negotiation import choose_format
from service.http.formats.registry import PREDICT_FORMATS
from service.http.openapi import PREDICT_BODY, PREDICT_CONTENT
from service.http.receive import accepted, read_request, runtime_of
from service.web.bodies import verify_query
from service.web.documented import problem_responses
from service.web.plain_route import PlainRoute

router = APIRouter(prefix="/v1", tags=["inference"], route_class=PlainRoute)

ModelQuery = Annotated[
    str | None,
    Query(description="Name of a loaded model, or `name@version`; see /v1/models.", max_length=128),
]
PointQuery = Annotated[
    str | None,
    Query(
        description="Name of an operating point; by default the one that the model names.",
        max_length=64,
    ),
]


@router.post(
    "/predict",
    summary="Read one or many radiographs",
    response_model=PredictAnswer,
    responses=PREDICT_CONTENT
    | problem_responses(400, 404, 406, 408, 413, 415, 422, 429, 500, 501, 503, 504),
    openapi_extra={"requestBody": PREDICT_BODY},
)
async def predict(
    request: Request, model: ModelQuery = None, operating_point: PointQuery = None
) -> Response:
    """Return the probability of the finding and the decision for each image, in request order.

    One bad image of many fails alone: its result has the status `error` and a problem. A single
    image is answered with its problem and status. Image types are detected from the content.
    Research use only, not a medical device.

    `Accept: application/dicom` returns a Comprehensive 3D SR (TID 1500) of one DICOM image,
    `multipart/related; type="application/dicom"` one for each image, and `application/fhir+json` a
    FHIR R4 DiagnosticReport, or a Bundle of them, of images of any type. In these formats one
    failed image fails the request.
    """
    verify_query(request, "model", "operating_point")
    with accepted(request, model, operating_point) as prediction:
        response_format = choose_format(request, PREDICT_FORMATS)
        sources = response_format.open_sources(runtime_of(request).settings, prediction.served)
        outcomes = await read_request(request, prediction, sources=sources)
        return await response_format.answer(
            PredictOutcomes(request, prediction.served, outcomes, sources)
        )
