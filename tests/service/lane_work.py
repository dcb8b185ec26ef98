"""Images that are decoded when a test lets them, and the lane they go along."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from service.engines.protocol import Engine
from service.images.preparation import PreparedImage
from service.images.tensors import prepare_tensor
from service.scheduling.admission import InFlight
from service.scheduling.core_pool import CorePool
from service.scheduling.lane import CoreLane
from tests.service.make_bundle import SIZE_PX

BLACK = prepare_tensor(np.zeros((1, SIZE_PX, SIZE_PX), dtype=np.uint8))


def make_prepared(number: int) -> PreparedImage:
    """Make a prepared image whose pixels hold a number."""
    pixels = np.array([[[number // 256, number % 256]]], dtype=np.uint8)
    return replace(BLACK, model_input=pixels)


def number_of(image: PreparedImage) -> int:
    """Give the number its pixels hold."""
    high, low = image.model_input.ravel().tolist()
    return 256 * int(high) + int(low)


def make_core_lane(
    engine: object, pool: CorePool, name: str = "model", capacity: int = 100
) -> CoreLane:
    """Make a lane to an engine that runs on the cores."""
    return CoreLane(cast("Engine", engine), name, pool, InFlight(capacity))
