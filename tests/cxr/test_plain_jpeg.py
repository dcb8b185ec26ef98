"""JPEG files by themselves: kinds that are read or not, and the memory they take."""

from __future__ import annotations

import io

import numpy as np
import pytest
from imagecodecs import jpeg8_encode, jpegls_encode
from PIL import Image

from cxr.errors import ImageTooLargeError, UnreadableImageError, UnsupportedMediaError
from cxr.images.decoding import DecodeOptions, decode_image
from cxr.images.raster import bytes_per_pixel, read_jpeg_frame
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
    ("progressive", "subsampling", "decoded", "expected"),
    [
        (False, 0, 1000, 1),
        (False, 0, 8000, 5),
        (True, 0, 1000, 7),  # 6 of coefficients
        (True, 2, 1000, 4),  # 3 of them
    ],
)
def test_memory_of_a_declared_pixel(
    progressive: bool, subsampling: int, decoded: int, expected: int
) -> None:
    """Coefficients of all scans, and the picture at the scale it is decoded to."""
    data = bytearray(encode(COLOUR, progressive=progressive, subsampling=subsampling))
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    data[at : at + 4] = (8000).to_bytes(2, "big") * 2
    frame = read_jpeg_frame(bytes(data))
    assert frame is not None
    assert bytes_per_pixel(frame, decoded, decoded) == expected


def test_refusal_comes_before_the_decoder() -> None:
    """Of a file whose header alone is there."""
    data = bytearray(encode(COLOUR, progressive=True, subsampling=0))
    at = data.index(b"\xff\xc2") + 5
    data[at : at + 4] = (6500).to_bytes(2, "big") * 2
    with pytest.raises(ImageTooLargeError, match="in this encoding"):
        decode_image(bytes(data))
