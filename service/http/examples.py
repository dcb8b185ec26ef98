"""A tiny made-up radiograph, so that the examples of the documentation run."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

SIDE_PX = 96
GREY_STEP = 16  # few grey levels compress to about a kilobyte


def render_example_png() -> bytes:
    """Render two dark lungs beside a bright spine as a grey PNG. Nobody's radiograph."""
    y, x = np.mgrid[-1.0 : 1.0 : SIDE_PX * 1j, -1.0 : 1.0 : SIDE_PX * 1j]
    image = 190.0 - 90.0 * (np.abs(x) > 0.9)
    for centre in (-0.45, 0.45):
        image -= 130.0 * np.exp(-(((x - centre) / 0.28) ** 2) - (y / 0.65) ** 2)
    levels = (np.clip(image, 0, 255) // GREY_STEP * GREY_STEP).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


EXAMPLE_BASE64 = base64.b64encode(render_example_png()).decode("ascii")
