"""The images of a request, read and decoded."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from service.errors import InvalidRequestError
from service.http.body import BodyBudget
from service.http.connection import while_connected
from service.http.context import context_of, runtime_of
from service.http.images import read_images
from service.inference.models import ServedModel
from service.inference.prediction import Prepared, prepare_images


async def receive_images(
    request: Request, served: ServedModel, *, to_explain: bool = False
) -> Prepared:
    """Read and decode the images; their encoded bytes are let go at the end.

    Args:
        request: Its body holds them.
        served: The model that will take them.
        to_explain: Accept one image only, and keep what its explanation is drawn on.

    Raises:
        ServingError: The request cannot be read; the subclass says why.
        UnsupportedMediaError: A raw body is not a JPEG, PNG or DICOM file.
    """
    context, runtime = context_of(request), runtime_of(request)
    served.batcher.verify_room(1)  # refused at the door, before the body is read
    runtime.verify_admits(served, context.deadline)
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        with runtime.admission.body_being_read():
            images = await read_images(request, lease)
        if to_explain and len(images) > 1:
            raise InvalidRequestError(
                f"The request holds {len(images)} images, but one is explained at a time. "
                "Send each by itself."
            )
        with context.stopwatch.stage("decode"):
            work = prepare_images(
                images,
                served,
                runtime.decoder,
                context.deadline,
                keep_picture=to_explain,
            )
            return await while_connected(request, work)
