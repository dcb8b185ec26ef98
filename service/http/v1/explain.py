"""POST /v1/explain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from cxr.explain.methods import Method, current_name
from cxr.explain.overlay import DEFAULT_ALPHA, WITHHELD, Caption, heatmap_warnings
from service.answers import ExplainAnswer, ExplainedResult, ExplainTimingsMs, ImageResult
from service.dicom.results import CAPTURE_SYNTAX, REPORT_SYNTAX, build_capture, build_report
from service.dicom.source import SourceHeader
from service.errors import InvalidRequestError
from service.explain.explaining import Explaining
from service.explain.pictures import PictureOrder, Renderer
from service.http.formats.accept import choose_media_type
from service.http.formats.forms import (
    DICOM,
    JSON,
    MULTIPART_DICOM,
    VARY,
    Sources,
    choose_sources,
    respond_with_objects,
)
from service.http.openapi import EXPLAIN_BODY, EXPLAIN_CONTENT
from service.http.receive import accepted, read_request
from service.http.v1.predict import ModelQuery, PointQuery, respond
from service.models.models import ServedModel
from service.models.predictor import ImageFailure, Prediction, PredictionRequest
from service.web.connection import while_connected
from service.web.documented import problem_responses
from service.web.query import verify_query
from service.web.requests import RequestContext, context_of

router = APIRouter(prefix="/v1", tags=["inference"])

PNG = "image/png"


def _restore_plus(given: str) -> str:
    """Undo what URLs do to a plus sign that is not escaped: no method has a space in its name."""
    return given.replace(" ", "+")


def _current_method(given: object) -> object:
    return current_name(_restore_plus(given)) if isinstance(given, str) else given


TargetQuery = Annotated[
    str | None,
    Query(description="Class to explain; the most probable one of the finding.", max_length=256),
]
MethodQuery = Annotated[
    Method,
    BeforeValidator(_current_method),
    Query(
        description="How the feature maps are weighed. `gradcam++`, the former name of "
        "`gradcam_plus_plus`, still counts."
    ),
]
AlphaQuery = Annotated[
    float, Query(description="Opacity of the overlay where the heatmap is 1.", ge=0, le=1)
]


@dataclass(frozen=True)
class Wish:
    """What one request asks for.

    Attributes:
        request: The accepted request.
        explaining: What explains its answers.
        target: The class to explain; None for the most probable one of the finding.
        method: How.
        method_asked: The same by the name the request has for it, which may be a former one.
        alpha: Opacity of the overlay.
        media_type: Of the answer.
        sources: For an answer in DICOM, gets the image's header.
    """

    request: PredictionRequest
    explaining: Explaining
    target: str | None
    method: Method
    method_asked: str
    alpha: float
    media_type: str
    sources: Sources | None


@router.post(
    "/explain",
    summary="Read one radiograph and show where the answer comes from",
    response_model=ExplainAnswer,
    responses=EXPLAIN_CONTENT
    | problem_responses(400, 404, 406, 408, 413, 415, 422, 429, 500, 501, 503, 504),
    openapi_extra={"requestBody": EXPLAIN_BODY},
)
async def explain(
    request: Request,
    model: ModelQuery = None,
    operating_point: PointQuery = None,
    target: TargetQuery = None,
    method: MethodQuery = "gradcam",
    alpha: AlphaQuery = DEFAULT_ALPHA,
) -> Response:
    """The prediction for one image, and a heatmap of what speaks for a class.

    With `Accept: image/png` the answer is the overlay: the radiograph with the heatmap over it,
    legend and caption below it; with `application/dicom` it is a Secondary Capture of that, with
    `multipart/related; type="application/dicom"` the SR of /v1/predict and the capture, both for
    DICOM images. Pictures of an image out of scope show no heatmap. A heatmap shows what the
    network looked at, not where a disease is. Research use only, not a medical device.
    """
    verify_query(request, "model", "operating_point", "target", "method", "alpha")
    with accepted(request, model, operating_point) as prediction:
        served = prediction.served
        form = choose_media_type(request, (JSON, PNG, DICOM, MULTIPART_DICOM))
        wish = Wish(
            prediction,
            served.verify_explains(),
            _known_class(served, target),
            method,
            _restore_plus(request.query_params.get("method", method)),
            alpha,
            form,
            _sources_of(request, form, served),
        )
        prediction.timeline.fields["explained_by"] = method
        renderer = cast("Renderer", request.app.state.renderer)
        wish.explaining.batcher.verify_room(1)  # refused at the door, before the body is read
        renderer.verify_room()
        [outcome] = await read_request(request, prediction, to_explain=True, sources=wish.sources)
        context = context_of(request)
        if isinstance(outcome, ImageFailure):
            return respond([outcome], served, context)
        return await while_connected(request, _answer(outcome, wish, renderer, context))


def _sources_of(request: Request, form: str, served: ServedModel) -> Sources | None:
    if form in (JSON, PNG):
        return None
    return choose_sources(request, form, served, reports=form == MULTIPART_DICOM)


def _known_class(served: ServedModel, target: str | None) -> str | None:
    task = served.manifest.task
    if target in (None, task.positive):
        return None
    if target not in task.classes:
        raise InvalidRequestError(
            f"Unknown target. The classes of model {served.manifest.name} are: "
            f"{', '.join(task.classes)}."
        )
    return target


async def _answer(
    prediction: Prediction, wish: Wish, renderer: Renderer, context: RequestContext
) -> Response:
    served, result = wish.request.served, prediction.result
    with context.timeline.stage("explain"):
        task = served.manifest.task.as_task()
        likely = max(task.positive_classes, key=result.probabilities.__getitem__)
        target = wish.target or likely
        explanation = await wish.request.explain(
            prediction, task.classes.index(target), wish.method
        )
        order = _order(prediction, explanation.heatmap, wish, target)
        if wish.media_type == PNG:
            overlay = await renderer.render(order.render_overlay_png, context.deadline)
            return Response(overlay, media_type=PNG, headers=VARY)
        if wish.sources is not None:
            header = wish.sources.header_of(result)
            assert header is not None, "a DICOM answer has a DICOM source"
            work = partial(_render_objects, order, wish, result, header)
            objects = await renderer.render(work, context.deadline)
            return respond_with_objects(objects, wish.media_type)
        layer = wish.explaining.explainer.layer
        drawn = await renderer.render(partial(order.render_answer, layer), context.deadline)
    warnings = result.warnings
    if order.shows_heatmap:
        warnings = (*warnings, *heatmap_warnings(explanation.heatmap))
    told = drawn.model_copy(update={"method": wish.method_asked})
    explained = result.model_dump() | {"warnings": warnings, "explanation": told}
    answer = ExplainAnswer(
        request_id=context.request_id,
        model=served.reference,
        results=(ExplainedResult.model_validate(explained),),
        timings_ms=ExplainTimingsMs(**context.timeline.answer_timings_ms()),
    )
    return Response(answer.model_dump_json(), media_type=JSON, headers=VARY)


def _render_objects(
    order: PictureOrder, wish: Wish, result: ImageResult, header: SourceHeader
) -> list[tuple[bytes, str]]:
    """Render the Secondary Capture of an overlay and, as a multipart, the report before it."""
    model = wish.request.served.reference
    capture = build_capture(
        header,
        result,
        model,
        order.render_overlay(),
        target=order.caption.target,
        method=wish.method,
        alpha=wish.alpha,
    )
    objects = [(capture, CAPTURE_SYNTAX)]
    if wish.media_type == MULTIPART_DICOM:
        objects.insert(0, (build_report(header, result, model), REPORT_SYNTAX))
    return objects


def _order(
    prediction: Prediction, heatmap: NDArray[np.float32], wish: Wish, target: str
) -> PictureOrder:
    manifest, picture = wish.request.served.manifest, prediction.image.picture
    result = prediction.result
    if picture is None:
        raise ValueError("the image was prepared without its picture")
    in_scope = result.scope.in_scope
    caption = Caption(
        model=manifest.name,
        version=manifest.version,
        target=target,
        probability=result.probabilities[target],
        method=wish.method,
        headline=result.conclusion.headline,
        remarks=heatmap_warnings(heatmap) if in_scope else (*result.scope.reasons, WITHHELD),
    )
    facts = prediction.image.facts
    return PictureOrder(picture, facts, heatmap, caption, wish.alpha, shows_heatmap=in_scope)
