"""From the bytes of an image to a picture for people."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from cxr.images.decoding import DecodeOptions, decode_image, told_as_too_large
from cxr.pixels.image import Display, Window
from service.errors import InvalidRequestError


@dataclass(frozen=True)
class Picture:
    """A radiograph for people.

    Attributes:
        png: Grey PNG file of 8 bits.
        display: How stored values became grey levels, None unless monochrome DICOM.
    """

    png: bytes
    width: int
    height: int
    display: Display | None


def render_picture(data: bytes, max_side: int, window: Window | None, max_pixels: int) -> Picture:
    """Decode a JPEG, PNG or DICOM file and encode it as a picture. Any thread may call it.

    Args:
        data: The whole file.
        max_side: Longest side of the picture; smaller images keep their size.
        window: Replaces the image's own.
        max_pixels: Most pixels that the header may declare.

    Raises:
        InputError: The image cannot be decoded.
        InvalidRequestError: The image has no values to window.
    """
    with told_as_too_large():
        image = decode_image(data, DecodeOptions(max_pixels, reduce_to_px=max_side, window=window))
        if window is not None and image.display is None:
            raise InvalidRequestError(
                "window_center and window_width apply to monochrome DICOM images only. "
                "Leave them out for this image."
            )
        picture = Image.fromarray(image.pixels)
        picture.thumbnail((max_side, max_side), Image.Resampling.BILINEAR, reducing_gap=None)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)  # six times as quick as the default
        return Picture(buffer.getvalue(), picture.width, picture.height, image.display)
