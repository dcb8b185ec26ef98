"""One request's images to results."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from cxr.decision import OperatingPoint
from cxr.errors import CxrError, ImageOutOfScopeError
from service.answers import ImageResult
from service.deadline import Deadline
from service.inference.engine import OutputRow
from service.inference.lane import Passage, Prepare
from service.inference.models import ServedModel
from service.inference.preparation import PreparedImage, prepare_image
from service.inference.result import build_result
from service.telemetry.logs import log_event
from service.telemetry.stopwatch import Stopwatch


@dataclass(frozen=True)
class EncodedImage:
    """One image of a request.

    Attributes:
        id: Its name within the request.
        data: The bytes of a file.
        error: Why there are none: such an image fails alone.
    """

    id: str
    data: bytes
    error: Exception | None = None

    def preparing(self, model: ServedModel, max_pixels: int, *, keep_picture: bool) -> Prepare:
        """Give what decodes it for a model, see :func:`prepare_image`."""
        if self.error is not None:
            return partial(_fail, self.error)
        return partial(
            prepare_image,
            self.data,
            model.manifest.preprocessing,
            max_pixels,
            keep_picture=keep_picture,
        )


def _fail(error: Exception) -> PreparedImage:
    raise error


@dataclass(frozen=True)
class ImageFailure:
    """One image that failed alone."""

    id: str
    error: Exception


@dataclass(frozen=True)
class Reading:
    """One image with what the engine answered for it.

    Attributes:
        id: Its name within the request.
        image: What was prepared of it.
        row: The engine's answer.
    """

    id: str
    image: PreparedImage
    row: OutputRow


async def read_images(
    images: Sequence[tuple[str, Prepare]],
    model: ServedModel,
    deadline: Deadline,
    stopwatch: Stopwatch,
) -> list[Reading | ImageFailure]:
    """Decode and run the images of a request and give one outcome for each, in their order.

    If the caller is cancelled, what has not begun is dropped.

    Args:
        images: Ids with what decodes them.
        model: Reads them.
        deadline: Of the request.
        stopwatch: Gets the stages of the image that took longest in each.

    Raises:
        QueueFullError: There is no room for all of them; nothing was queued.
        NotReadyError: The service is stopping.
    """
    model.verify_room(len(images))
    with model.lane.load.hold(len(images)):
        passages = await asyncio.gather(
            *(model.lane.read(prepare, deadline) for _, prepare in images), return_exceptions=True
        )
    outcomes: list[Reading | ImageFailure] = []
    for (image_id, _), passage in zip(images, passages, strict=True):
        if isinstance(passage, Passage):
            _record_longest(stopwatch, passage)
            outcomes.append(Reading(image_id, passage.image, passage.row))
        else:
            outcomes.append(ImageFailure(image_id, _checked(passage)))
    return outcomes


def result_of(
    outcome: Reading | ImageFailure, model: ServedModel, point: OperatingPoint
) -> ImageResult | ImageFailure:
    """Give the answer for an image that was run; a failure stays one."""
    if isinstance(outcome, ImageFailure):
        return outcome
    try:
        return build_result(outcome.id, outcome.image, outcome.row, model.loaded, point)
    except ImageOutOfScopeError as error:
        return ImageFailure(outcome.id, error)


def _checked(error: BaseException) -> Exception:
    """Pass an error on; one nobody foresaw is logged, a cancellation raised."""
    if not isinstance(error, Exception):
        raise error
    if not isinstance(error, CxrError):
        log_event(logging.ERROR, "unexpected error", error)
    return error


def _record_longest(stopwatch: Stopwatch, passage: Passage) -> None:
    stages = (
        ("queue", passage.queue_ms),
        ("decode", passage.decode_ms),
        ("inference", passage.inference_ms),
    )
    for stage, duration_ms in stages:
        stopwatch.stages_ms[stage] = max(stopwatch.stages_ms.get(stage, 0.0), duration_ms)
