"""One request's images to results."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from cxr.errors import CxrError, ImageOutOfScopeError
from cxr.verdict.decision import OperatingPoint
from service.answers import ImageResult
from service.deadline import Deadline
from service.engines.protocol import OutputRow
from service.images.preparation import PreparedImage, prepare_image
from service.models.models import ServedModel
from service.models.result import build_result
from service.scheduling.lane import Passage, Prepare
from service.telemetry.course import Course
from service.telemetry.logs import log_event
from service.telemetry.request_log import note
from service.telemetry.stopwatch import INFER, MS_PER_S, Stopwatch
from service.telemetry.tracing import record_span

FAILED = "image-failed"
"""What ended a stage of one image; the request's span has the problem."""


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
    courses = [Course() for _ in images]
    with model.lane.load.hold(len(images)):
        try:
            passages = await asyncio.gather(
                *(
                    model.lane.read(prepare, deadline, course)
                    for (_, prepare), course in zip(images, courses, strict=True)
                ),
                return_exceptions=True,
            )
        finally:
            _tell(courses, stopwatch)
    outcomes: list[Reading | ImageFailure] = []
    for (image_id, _), passage in zip(images, passages, strict=True):
        if isinstance(passage, Passage):
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


def _tell(courses: Sequence[Course], stopwatch: Stopwatch) -> None:
    """Tell the stages to stopwatch, trace and log line, also those of images that failed."""
    for course in courses:
        spent_ms: defaultdict[str, float] = defaultdict(float)
        for stage in course.stages:
            spent_ms[stage.name] += (stage.ended_s - stage.started_s) * MS_PER_S
            problem = None if stage.is_done else FAILED
            attributes = {"cxr__batch_size": course.batch_size} if stage.name == INFER else {}
            record_span(stage.name, stage.started_s, stage.ended_s, problem, **attributes)
        for name, duration_ms in spent_ms.items():
            stopwatch.record_longest(name, duration_ms)
    note(batch_size=max((course.batch_size for course in courses), default=0))
