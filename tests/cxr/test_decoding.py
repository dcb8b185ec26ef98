"""Decoding of JPEG and PNG by content."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from cxr.errors import (
    ImageTooLargeError,
    InputError,
    UnreadableImageError,
    UnsupportedMediaError,
)
from cxr.images.decoding import DecodeOptions, decode_image, sniff_format
from export.phantom import HEIGHT, WIDTH, draw_phantom, encode_dicom, encode_jpeg, encode_png

FULL_SIZE = DecodeOptions(reduce_to_px=0)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encode_jpeg(draw_phantom(0)), "jpeg", id="jpeg"),
        pytest.param(encode_png(draw_phantom(0)), "png", id="png"),
        pytest.param(encode_dicom(draw_phantom(0)), "dicom", id="dicom"),
        pytest.param(b"GIF89a" + b"\0" * 200, None, id="gif"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"\0" * 128 + b"DIC", None, id="half a magic"),
    ],
)
def test_format_is_sniffed_from_content(data: bytes, expected: str | None) -> None:
    """The first bytes alone tell the format."""
    assert sniff_format(data) == expected


def test_png_pixels_are_exact() -> None:
    """A lossless file gives exactly the pixels it was made from."""
    image = draw_phantom(1)
    decoded = decode_image(encode_png(image))
    assert np.array_equal(decoded.pixels, image)
    assert (decoded.format, decoded.width, decoded.height) == ("png", 640, 512)


def test_large_jpeg_is_decoded_at_reduced_scale_but_reports_its_size() -> None:
    """Both sides keep the minimum, and width and height are the source's."""
    big = np.asarray(Image.fromarray(draw_phantom(1)).resize((2560, 2048)))
    decoded = decode_image(encode_jpeg(big), DecodeOptions(reduce_to_px=448))
    assert decoded.pixels.shape == (512, 640)
    assert (decoded.width, decoded.height) == (2560, 2048)


def test_reduced_scale_hardly_changes_the_picture() -> None:
    """Reduced decoding stays within a grey level of decoding at full size and averaging."""
    big = np.asarray(Image.fromarray(draw_phantom(1)).resize((2560, 2048)))
    data = encode_jpeg(big)
    reduced = decode_image(data, DecodeOptions(reduce_to_px=448)).pixels.astype(float)
    full = Image.fromarray(decode_image(data, FULL_SIZE).pixels).resize(
        (640, 512), Image.Resampling.BOX
    )
    assert np.abs(reduced - np.asarray(full)).mean() < 1.0


def test_colour_becomes_luma_and_is_measured() -> None:
    """A colour picture is converted, and its chroma tells that it was one."""
    decoded = decode_image(encode(Image.new("RGB", (100, 80), (255, 0, 0)), "PNG"))
    assert decoded.pixels[0, 0] == 76
    assert decoded.chroma == 255.0


def test_transparency_is_laid_on_black() -> None:
    """A transparent pixel is black, whatever colour it hides."""
    decoded = decode_image(encode(Image.new("RGBA", (80, 80), (255, 255, 255, 0)), "PNG"))
    assert decoded.pixels.max() == 0


def test_sixteen_bit_png_is_scaled_by_the_bits_it_uses() -> None:
    """A 12-bit picture in a 16-bit file is not shown black."""
    values = np.linspace(0, 4095, 100 * 100).reshape(100, 100).astype(np.uint16)
    decoded = decode_image(encode(Image.fromarray(values), "PNG"))
    assert decoded.pixels[0, 0] == 0
    assert decoded.pixels[-1, -1] == 255
    assert decoded.warnings == ("Scaled from 12 to 8 bits per pixel.",)


def test_exif_orientation_is_applied() -> None:
    """A picture marked as lying on its side is turned upright, size included."""
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_image(encode(Image.fromarray(draw_phantom(0)), "JPEG", exif=exif), FULL_SIZE)
    assert decoded.pixels.shape == (640, 512)
    assert (decoded.width, decoded.height) == (512, 640)


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.05])
@pytest.mark.parametrize("encoder", [encode_jpeg, encode_png], ids=["jpeg", "png"])
def test_truncated_file_is_unreadable(encoder: object, kept: float) -> None:
    """A file cut short is refused, never half shown."""
    data = encoder(draw_phantom(0))  # type: ignore[operator]
    with pytest.raises(UnreadableImageError, match="truncated or corrupt"):
        decode_image(data[: int(len(data) * kept)])


def test_other_content_is_unsupported() -> None:
    """What is not an image is named as such."""
    with pytest.raises(UnsupportedMediaError, match="not a JPEG, PNG or DICOM"):
        decode_image(b"<html></html>")


def test_declared_pixels_are_limited_before_decoding() -> None:
    """A small PNG that declares 60,000 x 60,000 pixels is refused by its header."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100))
    with pytest.raises(ImageTooLargeError, match="60000 x 60000"):
        decode_image(data)


def test_broken_exif_is_ignored() -> None:
    """Sound pixels are not refused for a damaged EXIF block."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(draw_phantom(0)), "JPEG", exif=exif)
    start = data.index(b"Exif")
    broken = data[: start + 8] + b"\xff" * 12 + data[start + 20 :]
    assert decode_image(broken, FULL_SIZE).pixels.shape == (512, 640)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("encoder", [encode_jpeg, encode_png, encode_dicom])
def test_damaged_bytes_raise_nothing_but_errors_of_input(encoder: object, seed: int) -> None:
    """Whatever a byte is changed to, the file is read or refused as an input."""
    rng = np.random.default_rng(seed)
    data = encoder(draw_phantom(0)[:128, :128])  # type: ignore[operator]
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, min(len(data), 1500), 3):
            damaged[position] = int(rng.integers(0, 256))
        try:
            decode_image(bytes(damaged))
        except InputError:
            continue


@pytest.mark.parametrize("encode", [encode_jpeg, encode_png, encode_dicom])
def test_limit_is_the_number_of_pixels(encode: Callable[[np.ndarray], bytes]) -> None:
    """As many pass; with one less allowed they are too many."""
    data = encode(draw_phantom(0))
    decode_image(data, DecodeOptions(max_pixels=WIDTH * HEIGHT))
    with pytest.raises(ImageTooLargeError, match=f"at most {WIDTH * HEIGHT - 1} pixels"):
        decode_image(data, DecodeOptions(max_pixels=WIDTH * HEIGHT - 1))
