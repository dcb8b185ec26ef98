"""POST /v1/render."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from cxr.pixels.image import Window
from service.answers import RenderAnswer
from service.errors import InvalidRequestError
from service.http.formats.negotiation import choose_format
from service.http.formats.registry import RENDER_FORMATS
from service.http.openapi import EXPLAIN_BODY, RENDER_CONTENT
from service.http.receive import read_images, runtime_of
from service.images.rendering import Picture, render_picture
from service.scheduling.cores import on_bytes
from service.web.bodies import BodyBudget, verify_query, while_connected
from service.web.documented import problem_responses
from service.web.requests import context_of

router = APIRouter(prefix="/v1", tags=["inference"])

MIN_SIDE_PX, MAX_SIDE_PX, DEFAULT_SIDE_PX = 64, 2048, 1024

CenterQuery = Annotated[
    float | None,
    Query(description="Window centre, in units after the modality LUT.", allow_inf_nan=False),
]
WidthQuery = Annotated[
    float | None, Query(description="Window width, in the same units.", gt=0, allow_inf_nan=False)
]
SideQuery = Annotated[
    int, Query(description="Longest side of the picture.", ge=MIN_SIDE_PX, le=MAX_SIDE_PX)
]


@router.post(
    "/render",
    summary="Show one radiograph as a picture",
    response_model=RenderAnswer,
    responses=RENDER_CONTENT | problem_responses(400, 406, 408, 413, 415, 422, 429, 500, 503, 504),
    openapi_extra={"requestBody": EXPLAIN_BODY},
)
async def render(
    request: Request,
    window_center: CenterQuery = None,
    window_width: WidthQuery = None,
    max_side: SideQuery = DEFAULT_SIDE_PX,
) -> Response:
    """Return one image as a grey PNG, made like the model's input; for DICOM with a chosen window.

    `window_center` and `window_width` belong together and apply to monochrome DICOM.
    `Accept: image/png` returns the picture alone. The answer holds no patient data, unless it is
    burned into the pixels.
    """
    verify_query(request, "window_center", "window_width", "max_side")
    window = _window_of(window_center, window_width)
    response_format = choose_format(request, RENDER_FORMATS)
    with runtime_of(request).lifecycle.accepted_request():
        picture = await _render(request, max_side, window)
    return response_format.respond(picture, context_of(request).request_id)


def _window_of(center: float | None, width: float | None) -> Window | None:
    if center is None and width is None:
        return None
    if center is None or width is None:
        raise InvalidRequestError(
            "window_center and window_width go together. Give both, or neither."
        )
    return Window(center, width)


async def _render(request: Request, max_side: int, window: Window | None) -> Picture:
    context, runtime = context_of(request), runtime_of(request)
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        images = await read_images(request, lease)
        if len(images) != 1:
            raise InvalidRequestError(
                f"The request holds {len(images)} images. Send one at a time."
            )
        (image,) = images
        if image.error is not None:
            raise image.error
        most = runtime.settings.max_image_pixels
        work = on_bytes(render_picture, image.data, max_side, window, most)
        with context.timeline.stage("decode"):
            return await while_connected(request, runtime.pool.run(work, context.deadline))
