"""JPEG files by themselves: kinds that are read or not, and the memory they take."""

from __future__ import annotations

import io

import numpy as np
import pytest
from imagecodecs import jpeg8_encode, jpegls_encode
from PIL import Image

from cxr.decoding import DecodeOptions, decode_image
from cxr.errors import ImageTooLargeError, UnreadableImageError, UnsupportedMediaError
from cxr.plain_jpeg import read_jpeg_frame, verify_memory
from export.phantom import draw_phantom, encode_jpeg

PHANTOM = draw_phantom(4)[:160, :200]
FULL_SIZE = DecodeOptions(reduce_to_px=0)


def encode(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_frame_marker(marker: int) -> bytes:
    """A baseline file that says it is of another kind."""
    data = encode_jpeg(PHANTOM)
    at = data.index(b"\xff\xc0")
    return data[:at] + bytes([0xFF, marker]) + data[at + 2 :]


UNREAD = {
    "JPEG-LS": jpegls_encode(PHANTOM),
    "JPEG of 12 bits": jpeg8_encode(PHANTOM.astype(np.uint16) * 16, bitspersample=12),
    "lossless JPEG": jpeg8_encode(PHANTOM, lossless=True),
    "hierarchical JPEG": with_frame_marker(0xC5),
    "JPEG with arithmetic coding": with_frame_marker(0xC9),
}


@pytest.mark.parametrize("name", UNREAD)
def test_kind_that_only_dicom_holds_is_unsupported_and_named(name: str) -> None:
    """It is whole, so nobody is told that it was truncated."""
    with pytest.raises(UnsupportedMediaError, match=name):
        decode_image(UNREAD[name])


@pytest.mark.parametrize("marker", [*range(0xE0, 0xF0), 0xFE])
@pytest.mark.parametrize(
    "body", [b"", b"\xff" * 40, b"Exif\0\0II*\0\xff\xff", b"ICC_PROFILE\0\1\xff", b"MPF\0II"]
)
def test_malformed_application_segment_never_decides(marker: int, body: bytes) -> None:
    """Of the sixteen only JFIF's and Adobe's say anything of the pixels of a grey picture."""
    data = encode_jpeg(PHANTOM)
    segment = bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body
    decoded = decode_image(data[:20] + segment + data[20:], FULL_SIZE)
    assert np.array_equal(decoded.pixels, decode_image(data, FULL_SIZE).pixels)


@pytest.mark.parametrize("cut", [3, 20, 60, 160, 164, 400])
def test_file_cut_in_its_header_or_data_is_unreadable(cut: int) -> None:
    """Not unsupported: more of it would be read."""
    with pytest.raises(UnreadableImageError, match="JPEG file is truncated or corrupt"):
        decode_image(encode_jpeg(PHANTOM)[:cut])


COLOUR = Image.fromarray(np.stack([PHANTOM] * 3, axis=-1))


@pytest.mark.parametrize(
    ("data", "components", "samples", "is_buffered"),
    [
        pytest.param(encode_jpeg(PHANTOM), 1, 1.0, False, id="grey"),
        pytest.param(encode(COLOUR, subsampling=0), 3, 3.0, False, id="4:4:4"),
        pytest.param(encode(COLOUR, subsampling=2), 3, 1.5, False, id="4:2:0"),
        pytest.param(
            encode(COLOUR, progressive=True, subsampling=0), 3, 3.0, True, id="progressive"
        ),
        pytest.param(encode(COLOUR.convert("CMYK")), 4, 4.0, False, id="inks"),
    ],
)
def test_frame_header(data: bytes, components: int, samples: float, is_buffered: bool) -> None:
    """Size, colours, subsampling, and whether the decoder must hold all coefficients."""
    frame = read_jpeg_frame(data)
    assert frame is not None
    assert (frame.width, frame.height) == (200, 160)
    assert (frame.components, frame.samples_per_pixel) == (components, samples)
    assert frame.is_buffered == is_buffered


@pytest.mark.parametrize(
    ("progressive", "subsampling", "side", "decoded", "is_read"),
    [
        (False, 0, 8000, 1000, True),
        (False, 0, 8000, 8000, False),  # not to be reduced: 5 bytes a pixel
        (True, 0, 8000, 1000, False),  # 6 bytes of coefficients
        (True, 2, 8000, 1000, True),  # 3 bytes
        (True, 0, 2000, 2000, True),  # 44 MB are free in any case
        (True, 0, 4000, 500, False),
    ],
)
def test_memory_of_a_picture_is_bounded(
    progressive: bool, subsampling: int, side: int, decoded: int, is_read: bool
) -> None:
    """At most four bytes a declared pixel; what to send instead is said."""
    data = bytearray(encode(COLOUR, progressive=progressive, subsampling=subsampling))
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    data[at : at + 4] = side.to_bytes(2, "big") * 2
    frame = read_jpeg_frame(bytes(data))
    if is_read:
        verify_memory(frame, decoded, decoded)
    else:
        with pytest.raises(ImageTooLargeError, match="baseline instead of progressive"):
            verify_memory(frame, decoded, decoded)


def test_refusal_comes_before_the_decoder() -> None:
    """Of a file whose header alone is there."""
    data = bytearray(encode(COLOUR, progressive=True, subsampling=0))
    at = data.index(b"\xff\xc2") + 5
    data[at : at + 4] = (8000).to_bytes(2, "big") * 2
    with pytest.raises(ImageTooLargeError, match="bytes of memory a pixel"):
        decode_image(bytes(data))
