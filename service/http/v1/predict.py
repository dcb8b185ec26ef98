"""POST /v1/predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from service.answers import ImageError, PredictAnswer, TimingsMs
from service.http.formats.accept import choose_media_type
from service.http.formats.forms import (
    DICOM,
    FHIR,
    JSON,
    MULTIPART_DICOM,
    choose_sources,
    respond_in_form,
)
from service.http.openapi import PREDICT_BODY, PREDICT_CONTENT
from service.http.receive import accepted, read_request
from service.models.models import ServedModel
from service.models.predictor import ImageFailure, Outcome
from service.web.connection import while_connected
from service.web.documented import problem_responses
from service.web.problems import SERVER_FAULT, error_response, problem_of, problem_type_of, slug_of
from service.web.query import verify_query
from service.web.requests import RequestContext, context_of

router = APIRouter(prefix="/v1", tags=["inference"])

ModelQuery = Annotated[
    str | None,
    Query(description="Name of a loaded model, or `name@version`; see /v1/models.", max_length=128),
]
PointQuery = Annotated[
    str | None,
    Query(description="Name of an operating point of the model; its default.", max_length=64),
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
    """Probability of the finding and the decision for each image, in the order of the request.

    One bad image of many fails alone: its result has the status `error` and the problem. A
    request of one image is answered with that problem and its status. The type of an image
    is taken from its content. Research use only, not a medical device.

    With `Accept: application/dicom` a DICOM image is answered with a Comprehensive 3D SR
    (TID 1500); with `multipart/related; type="application/dicom"` several are, in their order;
    with `application/fhir+json` images of any kind are with a FHIR R4 DiagnosticReport, or a Bundle
    of them. No failure can stand in these: if one image of many fails, the request does.
    """
    verify_query(request, "model", "operating_point")
    with accepted(request, model, operating_point) as prediction:
        form = choose_media_type(request, (JSON, DICOM, MULTIPART_DICOM, FHIR))
        served = prediction.served
        sources = None if form == JSON else choose_sources(request, form, served)
        outcomes = await read_request(request, prediction, sources=sources)
        if sources is None:
            return respond(outcomes, served, context_of(request))
        return await while_connected(request, respond_in_form(request, outcomes, sources, served))


def respond(outcomes: Sequence[Outcome], served: ServedModel, context: RequestContext) -> Response:
    """Answer with the results, or with the problem if nothing else is left to tell."""
    failures = [one for one in outcomes if isinstance(one, ImageFailure)]
    if len(failures) == len(outcomes) and _is_common_fault(failures):
        context.timeline.fail(slug_of(failures[0].error), of_image=True)
        return error_response(failures[0].error, context.request_id)
    answer = PredictAnswer(
        request_id=context.request_id,
        model=served.reference,
        results=tuple(
            ImageError(id=one.id, problem=problem_of(one.error, context.request_id))
            if isinstance(one, ImageFailure)
            else one.result
            for one in outcomes
        ),
        timings_ms=TimingsMs(**context.timeline.answer_timings_ms()),
    )
    return Response(answer.model_dump_json(), media_type=JSON, headers={"Vary": "Accept"})


def _is_common_fault(failures: list[ImageFailure]) -> bool:
    """Whether a failed request is answered with its first problem.

    So it is for one image; and for many, if the service failed them all: clients retry by
    status, and a 200 would hide the failure from whoever watches statuses.
    """
    statuses = {problem_type_of(failure.error).status for failure in failures}
    return len(failures) == 1 or (len(statuses) == 1 and min(statuses) >= SERVER_FAULT)
