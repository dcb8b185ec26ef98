"""Bytes of a JPEG, PNG or DICOM file to one radiograph.

Training, export and the service all decode here, so that the network is served exactly
what it was trained on. The type is taken from the content, never from a name or header.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cxr.dicom import decode as dicom
from cxr.errors import ImageTooLargeError, UnsupportedMediaError
from cxr.images import raster
from cxr.images.exhaustion import told_as_too_large
from cxr.pixels.image import DecodedImage, Window

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
DICOM_MAGIC = b"DICM"
DICOM_PREAMBLE_BYTES = 128

SNIFF_BYTES = DICOM_PREAMBLE_BYTES + len(DICOM_MAGIC)
"""As many leading bytes as :func:`sniff_format` looks at."""


DEFAULT_MAX_PIXELS = 64_000_000  # four times the largest detectors made (about 16 Mpx)


PIXEL_BYTES = 4
"""Memory that decoding may take for each pixel of the largest image, beside the file: an operator
can reckon with ``PIXEL_BYTES * max_pixels`` for each image that is decoded at a time."""


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
    reduce_to_px: int = 448  # twice the networks' input: 0.2 grey levels from full size
    window: Window | None = None

    def verify_pixels(
        self, width: int, height: int, frames: int = 1, bytes_per_pixel: int = PIXEL_BYTES
    ) -> None:
        """Refuse a declared size over the limit, before anything is allocated for it.

        Args:
            width: In pixels.
            height: In pixels.
            frames: How many there are.
            bytes_per_pixel: Memory that decoding takes for each pixel, beside the file. What
                needs more than ``PIXEL_BYTES`` may have fewer pixels accordingly.

        Raises:
            ImageTooLargeError: Over the limit.
        """
        most = self.max_pixels * PIXEL_BYTES // max(bytes_per_pixel, PIXEL_BYTES)
        if width * height * frames <= most:
            return
        raise ImageTooLargeError(
            f"The image declares {width} x {height} pixels"
            + (f" in {frames} frames" if frames > 1 else "")
            + f"; at most {most} pixels are accepted"
            + (
                ". Send a smaller image."
                if most == self.max_pixels
                else " in this encoding, which takes more memory than others to decode. Send a "
                "smaller image, or DICOM with uncompressed pixels in grey."
            )
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
        ImageTooLargeError: More pixels declared than ``options.max_pixels``, more than is read of
            anything else, or no memory for them.
        UnreadableImageError: Truncated or corrupt.
        UnsupportedDicomError: A DICOM object that is not one single-frame radiograph.
    """
    kind = sniff_format(data[:SNIFF_BYTES])
    if kind is None:
        raise UnsupportedMediaError(
            "The content is not a JPEG, PNG or DICOM Part 10 file. Send one of these."
        )
    digest = hashlib.sha256(data).hexdigest()
    with told_as_too_large():
        if kind == "dicom":
            return dicom.decode_dicom(data, digest, options.verify_pixels, options.window)
        return raster.decode_raster(data, kind, digest, options.verify_pixels, options.reduce_to_px)
