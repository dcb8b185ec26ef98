"""Read radiographs with the region of the finding marked, for judging heatmaps only."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.errors import DataError
from cxr.images.decoding import Preprocessing, decode_image, decode_options, to_model_input
from training.fit.segmenter import SIDE_PX

IMAGES, REGIONS = "images", "infection_masks"


class Localisation(NamedTuple):
    """Model inputs (N, 1, S, S) and regions of the finding (N, SIDE_PX, SIDE_PX)."""

    pixels: NDArray[np.uint8]
    regions: NDArray[np.bool_]


def read_localisation(folder: Path, spec: Preprocessing) -> Localisation:
    """Read ``images/NAME.*`` with ``infection_masks/NAME.png``.

    Raises:
        DataError: There is none, or an image has no mask.
    """
    files = sorted(path for path in (folder / IMAGES).glob("*") if path.is_file())
    if not files:
        raise DataError(f"{folder} has no {IMAGES}/ with radiographs.")
    pixels, regions = [], []
    for file in files:
        mask = folder / REGIONS / f"{file.stem}.png"
        if not mask.is_file():
            raise DataError(f"{file.name} has no mask in {REGIONS}/.")
        decoded = decode_image(file.read_bytes(), decode_options(spec))
        pixels.append(to_model_input(decoded.pixels, spec))
        resized = Image.open(mask).convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)
        regions.append(np.asarray(resized) > 127)
    return Localisation(np.stack(pixels), np.stack(regions))
