"""application/json."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable

from pydantic_core import to_json
from starlette.responses import JSONResponse, Response

from cxr.explain.overlay import heatmap_warnings
from cxr.pixels.image import Display
from service.answers import (
    ExplainedResult,
    ImageError,
    RangeAnswer,
    RenderAnswer,
    WindowAnswer,
)
from service.dicom.source import SourceHeader
from service.http.formats.format import (
    VARY,
    Explained,
    ExplainFormat,
    PredictFormat,
    PredictOutcomes,
    RenderFormat,
    respond_failure,
)
from service.images.rendering import Picture
from service.models.models import ServedModel
from service.models.predictor import ImageFailure
from service.web.problems import SERVER_FAULT, problem_of, problem_type_of
from service.web.requests import RequestContext, context_of

JSON = "application/json"


class JsonPrediction(PredictFormat):
    """A result or problem per image."""

    media_type = JSON

    async def answer(self, predicted: PredictOutcomes) -> Response:
        """Return the results; or one problem, for a single image or a service fault.

        A 200 would hide that fault from clients that retry by status.
        """
        context, outcomes = context_of(predicted.request), predicted.outcomes
        request_id = context.timeline.request_id
        failures = [one for one in outcomes if isinstance(one, ImageFailure)]
        if failures and len(failures) == len(outcomes):
            statuses = {problem_type_of(failure.error).status for failure in failures}
            if len(failures) == 1 or (len(statuses) == 1 and min(statuses) >= SERVER_FAULT):
                return respond_failure(failures[0].error, context)
        results = [
            _encode_failure(one, request_id) if isinstance(one, ImageFailure) else one.encoded
            for one in outcomes
        ]
        return _respond(results, predicted.served, context)


def _respond(results: Iterable[bytes], served: ServedModel, context: RequestContext) -> Response:
    """Return a PredictAnswer or ExplainAnswer of results that were encoded where they were made."""
    parts = (
        b'{"request_id":',
        to_json(context.request_id),
        b',"model":',
        served.encoded_reference,
        b',"results":[',
        b",".join(results),
        b'],"timings_ms":',
        to_json(context.timeline.answer_timings_ms()),
        b"}",
    )
    return Response(b"".join(parts), media_type=JSON, headers=VARY)


def _encode_failure(failure: ImageFailure, request_id: str) -> bytes:
    told = ImageError(id=failure.id, problem=problem_of(failure.error, request_id))
    return told.model_dump_json().encode()


class JsonExplanation(ExplainFormat[bytes]):
    """The prediction, heatmap values and pictures."""

    media_type = JSON

    def draw(self, explained: Explained, header: SourceHeader | None) -> bytes:
        """Render heatmap and overlay, and return the ExplainedResult encoded."""
        result, order = explained.result, explained.order
        warnings = result.warnings
        if order.shows_heatmap:
            warnings = (*warnings, *heatmap_warnings(order.heatmap))
        drawn = order.render_answer(explained.layer)
        told = drawn.model_copy(update={"method": explained.method_asked})
        whole = result.model_dump() | {"warnings": warnings, "explanation": told}
        return ExplainedResult.model_validate(whole).model_dump_json().encode()

    def respond(self, drawn: bytes, served: ServedModel, context: RequestContext) -> Response:
        """Return the explained prediction."""
        return _respond([drawn], served, context)


class JsonPicture(RenderFormat):
    """The picture in base64."""

    media_type = JSON

    def respond(self, picture: Picture, request_id: str) -> Response:
        """Return the picture."""
        display = picture.display
        window = None if display is None else display.window
        answer = RenderAnswer(
            request_id=request_id,
            width=picture.width,
            height=picture.height,
            png=base64.b64encode(picture.png).decode("ascii"),
            window=window
            and WindowAnswer(center=window.center, width=window.width, function=window.function),
            range=_range_of(display),
        )
        return JSONResponse(answer.model_dump(), headers=VARY)


def _range_of(display: Display | None) -> RangeAnswer | None:
    # An extreme rescale slope gives infinities, which JSON cannot express.
    if display is None or not math.isfinite(display.high - display.low):
        return None
    return RangeAnswer(low=display.low, high=display.high)
