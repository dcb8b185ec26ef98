"""One request's images to results."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from cxr.decision import OperatingPoint
from cxr.errors import CxrError, ImageOutOfScopeError
from service.answers import ImageResult
from service.deadline import Deadline
from service.inference.batch_queue import ItemOutput
from service.inference.engine import OutputRow
from service.inference.models import ServedModel
from service.inference.preparation import Decoder, PreparedImage
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


Prepared: TypeAlias = list[tuple[str, PreparedImage | Exception]]
"""Ids with what was prepared of each image, or why it could not be."""

T = TypeVar("T")


async def prepare_images(
    images: Sequence[EncodedImage],
    model: ServedModel,
    decoder: Decoder,
    deadline: Deadline,
    *,
    keep_picture: bool = False,
) -> Prepared:
    """Decode all images of a request, several at a time."""
    spec, owner = model.manifest.preprocessing, model.manifest.name

    async def prepare(image: EncodedImage) -> PreparedImage:
        if image.error is not None:
            raise image.error
        return await decoder.prepare(
            image.data, spec, deadline, keep_picture=keep_picture, owner=owner
        )

    outcomes = await asyncio.gather(*map(prepare, images), return_exceptions=True)
    return [(image.id, _checked(one)) for image, one in zip(images, outcomes, strict=True)]


async def run_prepared(
    prepared: Prepared, model: ServedModel, deadline: Deadline, stopwatch: Stopwatch
) -> list[Reading | ImageFailure]:
    """Run the images that could be prepared and give one outcome for each of all.

    If the caller is cancelled, its images are taken out of the queue.

    Raises:
        QueueFullError: There is no room for all of them; nothing was queued.
        NotReadyError: The service is stopping.
    """
    usable = [image for _, image in prepared if isinstance(image, PreparedImage)]
    futures = model.batcher.submit([i.model_input for i in usable], deadline) if usable else []
    # gather cancels its futures when it is cancelled itself.
    outputs = iter([_checked(o) for o in await asyncio.gather(*futures, return_exceptions=True)])
    outcomes: list[Reading | ImageFailure] = []
    for image_id, image in prepared:
        if isinstance(image, Exception):
            outcomes.append(ImageFailure(image_id, image))
            continue
        output = next(outputs)
        if isinstance(output, Exception):
            outcomes.append(ImageFailure(image_id, output))
            continue
        _record_longest(stopwatch, output)
        outcomes.append(Reading(image_id, image, output.row))
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


def _checked(outcome: T | BaseException) -> T | Exception:
    """Pass on what a gather gave; an error nobody foresaw is logged, a cancellation raised."""
    if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
        raise outcome
    if isinstance(outcome, Exception) and not isinstance(outcome, CxrError):
        log_event(logging.ERROR, "unexpected error", outcome)
    return outcome


def _record_longest(stopwatch: Stopwatch, output: ItemOutput[OutputRow]) -> None:
    for stage, duration_ms in (("queue", output.queue_ms), ("inference", output.inference_ms)):
        stopwatch.stages_ms[stage] = max(stopwatch.stages_ms.get(stage, 0.0), duration_ms)
