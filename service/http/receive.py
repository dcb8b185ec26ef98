"""The images of a request, received and read."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from service.errors import InvalidRequestError
from service.http.context import context_of, runtime_of
from service.http.formats.forms import Sources
from service.http.images import read_images as receive_images
from service.models.models import ServedModel
from service.models.predictor import ImageFailure, Reading, read_images
from service.web.body import BodyBudget
from service.web.connection import while_connected


async def read_request(
    request: Request,
    served: ServedModel,
    *,
    to_explain: bool = False,
    sources: Sources | None = None,
) -> list[Reading | ImageFailure]:
    """Receive, decode and run the images; their encoded bytes are let go at the end.

    Args:
        request: Its body holds them.
        served: The model that reads them.
        to_explain: Accept one image only, and keep what its explanation is drawn on.
        sources: Gets the DICOM headers that the answer needs.

    Raises:
        ServingError: The request cannot be read; the subclass says why.
        NotAcceptableError: The answer needs other images than these.
        UnsupportedMediaError: A raw body is not a JPEG, PNG or DICOM file.
    """
    context, runtime = context_of(request), runtime_of(request)
    runtime.verify_admits(served, context.deadline)  # refused before the body is read
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        with runtime.arriving(served):
            images = await receive_images(request, lease)
        if to_explain and len(images) > 1:
            raise InvalidRequestError(
                f"The request holds {len(images)} images, but one is explained at a time. "
                "Send each by itself."
            )
        if sources is not None:
            await sources.read(images, runtime.pool, context.deadline)
        max_pixels = runtime.settings.max_image_pixels
        work = read_images(
            [
                (image.id, image.preparing(served, max_pixels, keep_picture=to_explain))
                for image in images
            ],
            served,
            context.deadline,
            context.stopwatch,
        )
        return await while_connected(request, work)
