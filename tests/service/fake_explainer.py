"""An explainer whose heatmap is a function of the image, the class and the method."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.bundles.methods import METHODS, Method
from service.explain.explaining import Explanation, Tolerance
from service.settings import Settings
from tests.service.fake_engine import POISON
from tests.service.make_bundle import TWO, Columns, logits_of

CELLS = 4


@dataclass
class FakeExplainer:
    """Explains the answers of the test bundle's graph.

    Attributes:
        gate: It waits for it before each run.
        entered: Released once for each run that has begun.
        fails: Raise instead of explaining.
        poisoned: Answer NaN for inputs of the grey level ``POISON``.
        level: Replaces every value of the heatmaps.
        columns: Of the graph it stands for.
        shift: Added to the logits, as other weights would.
        batches: What was run: targets and methods, item by item.
        prepared: Threads that were prepared for runs.
    """

    layer = "fake_layer"
    precision = "fp32"
    tolerance = Tolerance(0.01, 0.01)

    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    fails: bool = False
    poisoned: bool = False
    level: float | None = None
    shift: float = 0.0
    columns: Columns = TWO
    batches: list[list[tuple[int, Method]]] = field(default_factory=list)
    prepared: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def prepare_thread(self) -> None:
        """Note the thread."""
        self.prepared.append(threading.get_ident())

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> list[Explanation]:
        """Answer as ``Explainer.explain`` does."""
        self.entered.release()
        assert self.gate.wait(timeout=20), "the test never opened the gate"
        self.batches.append(list(zip(targets, methods, strict=True)))
        if self.fails:
            raise RuntimeError("secret of the explainer")
        embedding = logits_of(images, columns=self.columns)
        logits = embedding + np.float32(self.shift)
        heatmaps = [heatmap_of(*one) for one in zip(images, targets, methods, strict=True)]
        for image, heatmap in zip(images, heatmaps, strict=True):
            if self.poisoned and (image == POISON).all():
                heatmap[:] = np.nan
            elif self.level is not None:
                heatmap[:] = self.level
        return [Explanation(*row) for row in zip(heatmaps, logits, embedding, strict=True)]

    def forget(self) -> None:
        """Forget the runs there were, those at start for instance."""
        self.batches.clear()
        self.entered = threading.Semaphore(0)

    def build(self, bundle: Bundle, provider: str, settings: Settings) -> FakeExplainer:
        """Stand in for a builder of explainers."""
        return self


def heatmap_of(image: NDArray[np.uint8], target: int, method: Method) -> NDArray[np.float32]:
    """Give what the fake answers: brightness in a row that tells the class and the method."""
    heatmap = np.zeros((CELLS, CELLS), dtype=np.float32)
    heatmap[METHODS.index(method), target] = 1.0
    heatmap[3, 3] = image.mean() / 255
    return heatmap
