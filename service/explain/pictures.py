"""Pictures of explanations, rendered on their own threads."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr.explain.overlay import Caption, render_heatmap_png, render_overlay
from cxr.explain.png_writer import write_png
from cxr.pixels.image import GrayImage
from service.answers import ExplanationAnswer, HeatmapAnswer, ImageFacts
from service.deadline import Deadline
from service.errors import DeadlineExceededError, QueueFullError
from service.scheduling.priority import lower_priority

DIGITS = 4  # of the heatmap's values: finer than a colour or a rounding error of bfloat16
T = TypeVar("T")

RETRY_AFTER_S = 1  # a picture takes about a tenth of a second


@dataclass(frozen=True)
class PictureOrder:
    """What to render.

    Attributes:
        facts: The image as received, whose aspect ratio is kept.
        heatmap: Shape (h, w), in [0, 1].
        alpha: Opacity where the heatmap is 1.
        shows_heatmap: False out of scope, where it would mislead.
    """

    picture: GrayImage
    facts: ImageFacts
    heatmap: NDArray[np.float32]
    caption: Caption
    alpha: float
    shows_heatmap: bool

    def render_overlay(self) -> NDArray[np.uint8]:
        """Render radiograph and heatmap, shape (H, W, 3)."""
        size = self.facts.width, self.facts.height
        heatmap = self.heatmap if self.shows_heatmap else None
        return render_overlay(self.picture, heatmap, self.caption, self.alpha, *size)

    def render_overlay_png(self) -> bytes:
        """Render the overlay as PNG."""
        return write_png(self.render_overlay())

    def render_answer(self, layer: str) -> ExplanationAnswer:
        """Render both pictures and the numbers."""
        height, width = self.heatmap.shape
        values = np.round(self.heatmap.astype(np.float64), DIGITS).tolist()
        alone = render_heatmap_png(self.heatmap, self.facts.width, self.facts.height)
        return ExplanationAnswer(
            method=self.caption.method,
            layer=layer,
            target=self.caption.target,
            heatmap=HeatmapAnswer(height=height, width=width, values=values),
            heatmap_png=base64.b64encode(alone).decode("ascii"),
            overlay_png=base64.b64encode(self.render_overlay_png()).decode("ascii"),
        )


class Renderer:
    """Renders pictures on threads. Belongs to the event loop."""

    def __init__(self, threads: int, capacity: int) -> None:
        self._capacity = capacity
        self._waiting = 0
        self._executor = ThreadPoolExecutor(
            threads, thread_name_prefix="render", initializer=lower_priority
        )

    def verify_room(self) -> None:
        """Raise QueueFullError while ``capacity`` pictures are pending."""
        if self._waiting >= self._capacity:
            raise QueueFullError("Too many pictures are being drawn. Try later.", RETRY_AFTER_S)

    async def render(self, work: Callable[[], T], deadline: Deadline) -> T:
        """Render; DeadlineExceededError if no thread is free in time."""

        def begin() -> T:
            if deadline.is_over:
                raise DeadlineExceededError(
                    "The deadline passed before the picture was drawn. Try again later."
                )
            return work()

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, begin)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Stop the threads and drop what has not begun."""
        self._executor.shutdown(cancel_futures=True)
