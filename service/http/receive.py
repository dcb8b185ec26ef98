"""The images of a request, received and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from starlette.requests import Request

from service.errors import InvalidRequestError
from service.http.context import runtime_of
from service.http.formats.sources import Sources
from service.http.images import read_images as receive_images
from service.models.predictor import Outcome, PredictionRequest
from service.web.body import BodyBudget
from service.web.connection import while_connected
from service.web.requests import context_of


@contextmanager
def accepted(
    request: Request, model: str | None, operating_point: str | None, version: str | None = None
) -> Iterator[PredictionRequest]:
    """Accept a request for predictions, see :meth:`Predictor.accept`."""
    context, predictor = context_of(request), runtime_of(request).predictor
    with predictor.accept(
        context.deadline, context.timeline, model, operating_point, version=version
    ) as prediction:
        yield prediction


async def read_request(
    request: Request,
    prediction: PredictionRequest,
    *,
    to_explain: bool = False,
    sources: Sources | None = None,
) -> list[Outcome]:
    """Receive, decode and run the images; their encoded bytes are let go at the end.

    Args:
        request: Its body holds them.
        prediction: The accepted request.
        to_explain: Accept one image only, and keep what its explanation is drawn on.
        sources: Receives the DICOM headers that the answer needs.

    Raises:
        ServingError: The request cannot be read; the subclass says why.
        NotAcceptableError: The answer needs other images than these.
        UnsupportedMediaError: A raw body is not a JPEG, PNG or DICOM file.
    """
    receiving = prediction.admit()  # refused before the body is read
    budget = cast("BodyBudget", request.app.state.body_budget)
    with budget.lease() as lease:
        with receiving:
            images = await receive_images(request, lease)
        if to_explain and len(images) > 1:
            raise InvalidRequestError(
                f"The request holds {len(images)} images, but one is explained at a time. "
                "Send each by itself."
            )
        if sources is not None:
            await sources.read(images, runtime_of(request).pool, prediction.deadline)
        return await while_connected(request, prediction.read(images, keep_picture=to_explain))
