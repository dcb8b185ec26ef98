"""Kinds of JPEG and PNG files that are rare among radiographs and must be read rightly."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile

from cxr.errors import ImageTooLargeError, UnreadableImageError
from cxr.images.decoding import DecodeOptions, decode_image
from export.phantom import draw_phantom

FULL_SIZE = DecodeOptions(reduce_to_px=0)
ORIENTATION_TAG = 0x0112
SIDE_PX = 64
ADOBE_TRANSFORM = 11  # bytes from "Adobe" to what says how colours were transformed
YCCK = 2
GRAY, RGB = 0, 2  # colour types of PNG

UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}
"""What a viewer shows by the value of Orientation (Exif 2.3, 4.6.4)."""


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(mode: str, colour: Any, kind: str = "PNG", **options: Any) -> bytes:
    """Make a file of one colour."""
    return encode(Image.new(mode, (SIDE_PX, SIDE_PX), colour), kind, **options)


def make_raw_png(rows: list[bytes], width: int, depth: int, colour_type: int) -> bytes:
    """Write a PNG file by hand, of rows as they are stored."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    magic = b"\x89PNG\r\n\x1a\n"
    return magic + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_orientation_is_undone(kind: str, orientation: int) -> None:
    """Pixels, width and height are those of the upright picture."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    stored = draw_phantom(2)[:96, :160]
    plain = decode_image(encode(Image.fromarray(stored), kind)).pixels
    decoded = decode_image(encode(Image.fromarray(stored), kind, exif=exif))
    expected = UPRIGHT[orientation](plain)
    assert np.array_equal(decoded.pixels, expected)
    assert (decoded.height, decoded.width) == expected.shape


def test_orientation_and_reduced_scale_go_together() -> None:
    """A large picture on its side is reduced and turned, and tells its upright size."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    big = Image.fromarray(draw_phantom(1)).resize((2560, 2048))
    decoded = decode_image(encode(big, "JPEG", exif=exif), DecodeOptions(reduce_to_px=448))
    assert decoded.pixels.shape == (640, 512)
    assert (decoded.width, decoded.height) == (2048, 2560)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_is_left_alone(orientation: int) -> None:
    """What Exif does not define turns nothing."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    image = draw_phantom(0)[:64, :96]
    assert np.array_equal(
        decode_image(encode(Image.fromarray(image), "PNG", exif=exif)).pixels, image
    )


@pytest.mark.parametrize(
    ("data", "grey"),
    [
        pytest.param(flat("LA", (200, 128)), 100, id="grey and alpha"),
        pytest.param(flat("LA", (200, 0)), 0, id="grey and no alpha"),
        pytest.param(flat("RGBA", (255, 255, 255, 64)), 64, id="colour and alpha"),
        pytest.param(flat("L", 90, transparency=90), 0, id="grey that stands for nothing"),
        pytest.param(flat("L", 90, transparency=91), 90, id="another grey does"),
        pytest.param(flat("RGB", (9, 9, 9), transparency=(9, 9, 9)), 0, id="such a colour"),
        pytest.param(flat("1", 1), 255, id="one bit, set"),
        pytest.param(flat("1", 0), 0, id="one bit, not set"),
        pytest.param(flat("CMYK", (0, 0, 0, 155), "JPEG", quality=95), 100, id="black ink"),
        pytest.param(flat("CMYK", (155, 155, 155, 0), "JPEG", quality=95), 100, id="inks"),
    ],
)
def test_flat_picture_has_the_grey_it_shows(data: bytes, grey: int) -> None:
    """Alpha is laid on black, ink darkens; within what JPEG rounds."""
    pixels = decode_image(data).pixels
    assert pixels.shape == (SIDE_PX, SIDE_PX)
    assert np.abs(pixels.astype(int) - grey).max() <= 2


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])], ids=["index", "table"])
def test_transparent_entry_of_a_palette_is_black(transparency: int | bytes) -> None:
    """The other entry keeps its colour's grey."""
    picture = Image.new("P", (SIDE_PX, SIDE_PX), 0)
    picture.putpalette([255, 255, 255, 120, 120, 120])
    picture.paste(1, (0, 0, SIDE_PX // 2, SIDE_PX))
    pixels = decode_image(encode(picture, "PNG", transparency=transparency)).pixels
    assert set(np.unique(pixels[:, : SIDE_PX // 2])) == {120}
    assert set(np.unique(pixels[:, SIDE_PX // 2 :])) == {0}


def test_colours_of_ycck_are_those_of_photoshop() -> None:
    """Adobe stores inks inverted, here also transformed to luma and chroma: Y 200 is ink 200."""
    stored = flat("CMYK", (55, 127, 127, 0), "JPEG", quality=100)  # as 200, 128, 128, 255
    place = stored.index(b"Adobe") + ADOBE_TRANSFORM
    data = stored[:place] + bytes([YCCK]) + stored[place + 1 :]
    decoded = decode_image(data)
    assert np.abs(decoded.pixels.astype(int) - 55).max() <= 2
    assert decoded.chroma <= 2


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_are_spread_over_all_greys(depth: int) -> None:
    """The highest value of a narrow PNG is white."""
    per_byte, top = 8 // depth, 2**depth - 1
    values = np.arange(SIDE_PX) % (top + 1)
    packed = bytes(
        sum(int(v) << depth * (per_byte - 1 - i) for i, v in enumerate(group))
        for group in values.reshape(-1, per_byte)
    )
    pixels = decode_image(make_raw_png([packed] * SIDE_PX, SIDE_PX, depth, GRAY)).pixels
    assert np.array_equal(pixels[0], values * 255 // top)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_greys_keep_their_order_and_range(bits: int) -> None:
    """Sixteen bits stored, so many of them used: each value is scaled, none is cut or wrapped."""
    row = np.linspace(0, 2**bits - 1, 256).astype(">u2")
    pixels = decode_image(make_raw_png([row.tobytes()] * SIDE_PX, 256, 16, GRAY)).pixels
    expected = row.astype(float) * 255 / (2**bits - 1)
    assert np.abs(pixels[0] - expected).max() <= 0.5 + 1e-3


def test_deep_colour_is_read() -> None:
    """Sixteen bits for each of three channels."""
    row = np.full((SIDE_PX, 3), 0x8000, dtype=">u2").tobytes()
    decoded = decode_image(make_raw_png([row] * SIDE_PX, SIDE_PX, 16, RGB))
    assert set(np.unique(decoded.pixels)) == {128}
    assert decoded.chroma == 0


@pytest.mark.parametrize("options", [FULL_SIZE, DecodeOptions(reduce_to_px=100)])
def test_progressive_jpeg_is_the_same_picture(options: DecodeOptions) -> None:
    """At full and at reduced scale; half of it is no picture."""
    image = Image.fromarray(draw_phantom(3))
    baseline, progressive = (
        encode(image, "JPEG", quality=90, progressive=how) for how in (False, True)
    )
    expected: NDArray[np.uint8] = decode_image(baseline, options).pixels
    assert np.array_equal(decode_image(progressive, options).pixels, expected)
    with pytest.raises(UnreadableImageError):
        decode_image(progressive[: len(progressive) // 2], options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("options", [FULL_SIZE, DecodeOptions()], ids=["full", "reduced"])
def test_nothing_is_decoded_of_what_declares_too_much(
    kind: str, options: DecodeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header's size counts, not that of a reduced decode; pixels are never asked for."""
    asked: list[ImageFile.ImageFile] = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", asked.append)
    if kind == "PNG":
        data = make_raw_png([b""], 60_000, 8, GRAY)
        data = data.replace(struct.pack(">II", 60_000, 1), struct.pack(">II", 60_000, 60_000))
        head, rest = data[:29], data[33:]
        data = head + struct.pack(">I", zlib.crc32(head[12:])) + rest
    else:
        small = flat("L", 90, "JPEG")
        side = struct.pack(">HH", SIDE_PX, SIDE_PX)
        data = small.replace(side, struct.pack(">HH", 60_000, 60_000), 1)
    with pytest.raises(ImageTooLargeError, match="60000 x 60000"):
        decode_image(data, options)
    assert not asked
