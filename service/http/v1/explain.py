"""POST /v1/explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Generic

import numpy as np
from fastapi import APIRouter, Query
from numpy.typing import NDArray
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from cxr.bundles.methods import Method, current_name
from cxr.explain.overlay import DEFAULT_ALPHA, WITHHELD, Caption, heatmap_warnings
from cxr.pixels.image import GrayImage
from service.answers import ExplainAnswer, ImageResult, ModelRef
from service.dicom.source import SourceHeader
from service.errors import InvalidRequestError
from service.explain.explaining import Explaining
from service.explain.pictures import PictureOrder
from service.http.formats.format import Drawn, Explained, ExplainFormat, respond_failure
from service.http.formats.negotiation import choose_format
from service.http.formats.registry import EXPLAIN_FORMATS
from service.http.formats.sources import Sources
from service.http.openapi import EXPLAIN_BODY, EXPLAIN_CONTENT
from service.http.receive import accepted, read_request, runtime_of
from service.http.v1.predict import ModelQuery, PointQuery
from service.models.models import ServedModel
from service.models.predictor import ImageFailure, Prediction, PredictionRequest
from service.web.bodies import verify_query, while_connected
from service.web.documented import problem_responses
from service.web.requests import RequestContext, context_of

router = APIRouter(prefix="/v1", tags=["inference"])


def _restore_plus(given: str) -> str:
    return given.replace(" ", "+")


def _current_method(given: object) -> object:
    return current_name(_restore_plus(given)) if isinstance(given, str) else given


TargetQuery = Annotated[
    str | None,
    Query(
        description="Class to explain; by default the most probable one of the finding.",
        max_length=256,
    ),
]
MethodQuery = Annotated[
    Method,
    BeforeValidator(_current_method),
    Query(
        description="How the feature maps are weighted. `gradcam++`, the former name of "
        "`gradcam_plus_plus`, is still accepted."
    ),
]
AlphaQuery = Annotated[
    float, Query(description="Opacity of the overlay where the heatmap is 1.", ge=0, le=1)
]


@dataclass(frozen=True)
class ExplainRequest:
    """What a request asks for."""

    request: PredictionRequest
    explaining: Explaining
    target: str | None
    method: Method
    method_asked: str
    alpha: float
    response_format: ExplainFormat[Any]
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
    """Return the prediction for one image and a heatmap of the evidence for a class.

    `Accept: image/png` returns the overlay: the radiograph under the heatmap, with legend and
    caption. For DICOM images, `application/dicom` returns it as a Secondary Capture, and
    `multipart/related; type="application/dicom"` the SR of /v1/predict and that capture. Pictures
    of images out of scope show no heatmap. A heatmap shows what the network looked at, not where a
    disease is. Research use only, not a medical device.
    """
    verify_query(request, "model", "operating_point", "target", "method", "alpha")
    with accepted(request, model, operating_point) as prediction:
        served = prediction.served
        explaining = served.verify_explains()
        served.verify_method(method)
        response_format = choose_format(request, EXPLAIN_FORMATS)
        options = ExplainRequest(
            prediction,
            explaining,
            _known_class(served, target),
            method,
            _restore_plus(request.query_params.get("method", method)),
            alpha,
            response_format,
            response_format.open_sources(runtime_of(request).settings, served),
        )
        prediction.timeline.fields["explained_by"] = method
        explaining.verify_room()  # refused at the door, before the body is read
        [outcome] = await read_request(
            request, prediction, to_explain=True, sources=options.sources
        )
        context = context_of(request)
        if isinstance(outcome, ImageFailure):
            return respond_failure(outcome.error, context)
        return await while_connected(request, _answer(outcome, options, context))


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
    prediction: Prediction, options: ExplainRequest, context: RequestContext
) -> Response:
    served, result, image = options.request.served, prediction.result, prediction.image
    assert image is not None, "it is kept"
    assert image.picture is not None, "it is kept"
    task = served.loaded.rules.task
    likely = max(task.positive_classes, key=result.probabilities.__getitem__)
    target = options.target or likely
    drawing = Drawing(
        options.response_format,
        result,
        image.picture,
        None if options.sources is None else options.sources.header_of(result),
        served.reference,
        options.explaining.layer,
        target,
        options.method,
        options.method_asked,
        options.alpha,
    )
    with context.timeline.stage("explain"):
        drawn = await options.request.explain(
            prediction, task.classes.index(target), options.method, drawing
        )
    return options.response_format.respond(drawn, served, context)


@dataclass(frozen=True)
class Drawing(Generic[Drawn]):
    """Draws an explanation as it was asked for, once there is a heatmap."""

    response_format: ExplainFormat[Drawn]
    result: ImageResult
    picture: GrayImage
    header: SourceHeader | None
    model: ModelRef
    layer: str
    target: str
    method: Method
    method_asked: str
    alpha: float

    def __call__(self, heatmap: NDArray[np.float32]) -> Drawn:
        """Draw it. Any thread, and any process."""
        result = self.result
        in_scope = result.scope.in_scope
        caption = Caption(
            model=self.model.name,
            version=self.model.version,
            target=self.target,
            probability=result.probabilities[self.target],
            method=self.method,
            headline=result.conclusion.headline,
            remarks=(*result.warnings, *heatmap_warnings(heatmap))
            if in_scope
            else (*result.scope.reasons, WITHHELD),
        )
        order = PictureOrder(
            self.picture, result.image, heatmap, caption, self.alpha, shows_heatmap=in_scope
        )
        explained = Explained(result, order, self.model, self.layer, self.method_asked)
        return self.response_format.draw(explained, self.header)
