"""From the bytes of one image to what the engine takes and the answer quotes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from cxr.decoding import decode_image
from cxr.explain.overlay import to_picture
from cxr.image import DecodedImage, DicomFacts, GrayImage, ModelInput
from cxr.layout import Layout, describe_layout
from cxr.preprocessing import Preprocessing, decode_options, to_model_input
from cxr.scope import Scope, assess_scope
from service.answers import DicomAnswer, ImageFacts
from service.deadline import Deadline
from service.errors import DeadlineExceededError
from service.inference.core_pool import CorePool, Urgency
from service.inference.moving_mean import MovingMean
from service.inference.observer import Observer

T = TypeVar("T")


SMOOTHING = 0.1  # weight of the newest image in the mean duration: files differ in size


@dataclass(frozen=True)
class PreparedImage:
    """One image, ready for a batch. Its full-size pixels are gone: many may be waiting.

    Attributes:
        model_input: Shape (1, S, S), uint8.
        facts: The image as it was received.
        scope: What plain checks say of it.
        layout: For the scope gate, float32, see :mod:`cxr.layout`.
        dicom: Facts of the DICOM header, None for other formats.
        warnings: Sentences about how it was read.
        picture: The radiograph as it is shown to people, if it was asked for.
    """

    model_input: ModelInput
    facts: ImageFacts
    scope: Scope
    layout: Layout
    dicom: DicomFacts | None
    warnings: tuple[str, ...]
    picture: GrayImage | None = None


def prepare_image(
    data: bytes, spec: Preprocessing, max_pixels: int, *, keep_picture: bool = False
) -> PreparedImage:
    """Decode, judge and resize one image. Any thread may call it.

    Args:
        data: A whole JPEG, PNG or DICOM Part 10 file.
        spec: Preprocessing of the model that will take it.
        max_pixels: Most pixels its header may declare.
        keep_picture: Keep what an explanation is drawn on.

    Raises:
        InputError: It cannot be used; the subclass and message say why.
    """
    image = decode_image(data, decode_options(spec, max_pixels))
    model_input = to_model_input(image.pixels, spec)
    return PreparedImage(
        model_input=model_input,
        facts=_facts_of(image),
        scope=assess_scope(image),
        layout=describe_layout(model_input),
        dicom=image.dicom,
        warnings=image.warnings,
        picture=to_picture(image.pixels, image.width, image.height) if keep_picture else None,
    )


def _facts_of(image: DecodedImage) -> ImageFacts:
    dicom = image.dicom
    return ImageFacts(
        sha256=image.sha256,
        format=image.format,
        width=image.width,
        height=image.height,
        dicom=None
        if dicom is None
        else DicomAnswer(
            modality=dicom.modality,
            view_position=dicom.view_position,
            body_part=dicom.body_part,
            photometric_interpretation=dicom.photometric_interpretation,
            transfer_syntax_uid=dicom.transfer_syntax_uid,
        ),
    )


class Decoder:
    """Prepares images on a pool of cores, so that the event loop turns on.

    Args:
        pool: Where images are decoded; its size also bounds the memory of decoded pixels.
        max_pixels: Most pixels an image's header may declare.
    """

    def __init__(self, pool: CorePool, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._pool = pool
        self._pending = 0
        self._item_s = MovingMean(SMOOTHING)
        self.observer: Observer | None = None

    @property
    def pending(self) -> int:
        """Images that wait or are being worked on."""
        return self._pending

    @property
    def mean_item_s(self) -> float:
        """Seconds of work on one image, a moving average; 0 before the first."""
        return self._item_s.value

    @property
    def concurrency(self) -> int:
        """Images worked on at a time."""
        return self._pool.threads

    @property
    def backlog_s(self) -> float:
        """Seconds until what waits and what is being worked on should be done."""
        return self._pending * self.mean_item_s / self._pool.threads

    async def prepare(
        self,
        data: bytes,
        spec: Preprocessing,
        deadline: Deadline,
        *,
        keep_picture: bool = False,
        owner: str = "",
    ) -> PreparedImage:
        """Do what :func:`prepare_image` does. Belongs to the event loop.

        Raises:
            InputError: The image cannot be used.
            DeadlineExceededError: It was not decoded before the deadline.
        """
        work = partial(prepare_image, data, spec, self.max_pixels, keep_picture=keep_picture)
        done, spent_s = await self._run(work, deadline, owner)
        if self.observer is not None:
            self.observer.image_decoded(spent_s)
        return done

    async def run(self, work: Callable[[], T], deadline: Deadline, owner: str = "") -> T:
        """Do some work on an image on a thread. Belongs to the event loop.

        Args:
            work: Called on a thread.
            deadline: It is not begun, or not waited for, after it.
            owner: The model it is for; models take turns.

        Raises:
            DeadlineExceededError: It was not done before the deadline.
            Exception: What the work raises.
        """
        done, _ = await self._run(work, deadline, owner)
        return done

    async def _run(self, work: Callable[[], T], deadline: Deadline, owner: str) -> tuple[T, float]:
        """Do what :meth:`run` does; give also the seconds it took a thread."""

        def late() -> DeadlineExceededError:
            return DeadlineExceededError(
                "The deadline passed before the image was decoded; it was dropped. "
                "Try again later or with fewer images."
            )

        def work_in_time() -> tuple[T, float]:
            if deadline.is_over:
                raise late()
            started_s = time.perf_counter()
            return work(), time.perf_counter() - started_s

        self._pending += 1
        future = self._pool.submit(Urgency.DECODE, work_in_time, owner)
        try:
            async with asyncio.timeout(deadline.remaining_s):
                done, spent_s = await asyncio.wrap_future(future)
        except TimeoutError:  # a thread cannot be stopped; its result is thrown away
            raise late() from None
        finally:
            self._pending -= 1
        self._item_s.add(spent_s)
        return done, spent_s
