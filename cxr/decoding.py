"""Bytes of a JPEG, PNG or DICOM file to one radiograph.

Training, export and the service all decode here, so that the network is served exactly
what it was trained on. The type is taken from the content, never from a name or header.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cxr import dicom, raster
from cxr.errors import ImageTooLargeError, UnsupportedMediaError
from cxr.image import DecodedImage, Window

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
DICOM_MAGIC = b"DICM"
DICOM_PREAMBLE_BYTES = 128

SNIFF_BYTES = DICOM_PREAMBLE_BYTES + len(DICOM_MAGIC)
"""As many leading bytes as :func:`sniff_format` looks at."""


DEFAULT_MAX_PIXELS = 64_000_000  # four times the largest detectors made (about 16 Mpx)


@dataclass(frozen=True)
class DecodeOptions:
    """What bounds and shapes the decoding.

    Attributes:
        max_pixels: Width x height x frames a header may declare.
        reduce_to_px: A JPEG may be decoded at a reduced scale as long as both sides keep at
            least this many pixels; 0 decodes at full size. Entropy decoding remains, the
            inverse transform and the resize become cheaper.
        window: A window to show monochrome DICOM through instead of its own; other images
            have none, so it is ignored there.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    reduce_to_px: int = 672  # three times the networks' input: 0.05 grey levels from full size
    window: Window | None = None

    def verify_pixels(self, width: int, height: int, frames: int = 1) -> None:
        """Refuse a declared size over the limit, before anything is allocated for it.

        Raises:
            ImageTooLargeError: Over the limit.
        """
        if width * height * frames > self.max_pixels:
            raise ImageTooLargeError(
                f"The image declares {width} x {height} pixels"
                + (f" in {frames} frames" if frames > 1 else "")
                + f"; at most {self.max_pixels} pixels are accepted. Send a smaller image."
            )


DEFAULT_OPTIONS = DecodeOptions()


def sniff_format(head: bytes) -> str | None:
    """Name the format of some bytes by their first ones.

    Args:
        head: At least the first ``SNIFF_BYTES`` bytes, or all of them.

    Returns:
        ``jpeg``, ``png`` or ``dicom``; None for anything else.
    """
    if head.startswith(JPEG_MAGIC):
        return "jpeg"
    if head.startswith(PNG_MAGIC):
        return "png"
    if head[DICOM_PREAMBLE_BYTES:SNIFF_BYTES] == DICOM_MAGIC:
        return "dicom"
    return None


def decode_image(data: bytes, options: DecodeOptions = DEFAULT_OPTIONS) -> DecodedImage:
    """Decode one radiograph. Any thread may call it; it shares no state.

    Args:
        data: A whole JPEG, PNG or DICOM Part 10 file.
        options: Limits and scale.

    Returns:
        The image with the facts of its container.

    Raises:
        UnsupportedMediaError: Another format, or a transfer syntax no decoder here reads.
        ImageTooLargeError: More pixels declared than ``options.max_pixels``.
        UnreadableImageError: Truncated or corrupt.
        UnsupportedDicomError: A DICOM object that is not one single-frame radiograph.
    """
    kind = sniff_format(data[:SNIFF_BYTES])
    if kind is None:
        raise UnsupportedMediaError(
            "The content is not a JPEG, PNG or DICOM Part 10 file. Send one of these."
        )
    digest = hashlib.sha256(data).hexdigest()
    if kind == "dicom":
        return dicom.decode_dicom(data, digest, options.verify_pixels, options.window)
    return raster.decode_raster(data, kind, digest, options.verify_pixels, options.reduce_to_px)
