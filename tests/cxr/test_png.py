"""PNG files of every kind: alike where they hold the same picture, and in bounded memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr.errors import ImageTooLargeError, UnreadableImageError
from cxr.images.decoding import decode_image
from cxr.images.png import LOW_BYTE_FIRST, _luma
from cxr.images.png_stream import ADAM7, MAGIC
from cxr.verdict.scope import MAX_CHROMA
from export.phantom import draw_phantom, encode_png
from tests.conftest import REPOSITORY

PHANTOM = draw_phantom(3)[:150, :130]
GREY, RGB, INDEXED, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
COLOURS = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGB_ALPHA: 4}


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind)) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def filtered(raw: NDArray[np.uint8], unit: int, method: int | None) -> bytes:
    """Rows of bytes behind a filter each (PNG, 9.2); None takes all five in turn."""
    lines, above = [], np.zeros(raw.shape[1], dtype=np.int32)
    for number, row in enumerate(raw.astype(np.int32)):
        kind = number % 5 if method is None else method
        left = np.concatenate([np.zeros(unit, np.int32), row[:-unit]])
        corner = np.concatenate([np.zeros(unit, np.int32), above[:-unit]])
        estimate = left + above - corner
        distances = np.abs([estimate - left, estimate - above, estimate - corner])
        paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
        guess = [0, left, above, (left + above) // 2, paeth][kind]
        lines.append(bytes([kind]) + ((row - guess) & 0xFF).astype(np.uint8).tobytes())
        above = row
    return b"".join(lines)


def make_png(
    samples: NDArray[np.integer],
    colour: int,
    *,
    interlaced: bool = False,
    method: int | None = None,
    order: str = ">",
    extra: bytes = b"",
) -> bytes:
    """Write a file by hand, of samples of shape (H, W, n)."""
    depth = 8 * samples.itemsize
    unit = samples.shape[2] * samples.itemsize
    data = b""
    for left, top, step_x, step_y in ADAM7 if interlaced else ((0, 0, 1, 1),):
        part = np.ascontiguousarray(samples[top::step_y, left::step_x])
        if part.size:
            stored = part.astype(f"{order}u{samples.itemsize}")
            data += filtered(stored.reshape(len(part), -1).view(np.uint8), unit, method)
    header = struct.pack(
        ">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, int(interlaced)
    )
    idat = chunk(b"IDAT", zlib.compress(data))
    return MAGIC + chunk(b"IHDR", header) + extra + idat + chunk(b"IEND", b"")


def deep(bits: int) -> NDArray[np.uint16]:
    """The picture in the lowest bits of sixteen."""
    return np.rint(PHANTOM * ((2**bits - 1) / 255)).astype(np.uint16)


def in_colour(grey: NDArray[np.integer], colour: int, alpha: int) -> NDArray[np.integer]:
    planes = [grey] * (3 if colour in (RGB, RGB_ALPHA) else 1)
    planes += [np.full_like(grey, alpha)] if colour in (GREY_ALPHA, RGB_ALPHA) else []
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("alpha", ["all bits", "as many bits"])
def test_deep_picture_is_alike_in_every_colour_type(colour: int, bits: int, alpha: str) -> None:
    """However many of sixteen bits are used, by the colours and by what is opaque."""
    opaque = 65_535 if alpha == "all bits" else 2**bits - 1
    decoded = decode_image(make_png(in_colour(deep(bits), colour, opaque), colour))
    assert np.abs(decoded.pixels.astype(int) - PHANTOM).max() <= 1
    assert decoded.chroma == 0
    assert decoded.warnings == (f"Scaled from {bits} to 8 bits per pixel.",)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15, 16])
def test_low_byte_first_is_recognised(colour: int, bits: int) -> None:
    """Some programs forget the byte order; read as it stands, the picture would be noise."""
    noise = np.random.default_rng(0).integers(0, 2 ** (bits - 8), PHANTOM.shape)
    sound = np.minimum(deep(bits) + noise, 2**bits - 1).astype(np.uint16)
    samples = in_colour(sound, colour, 65_535)
    swapped = decode_image(make_png(samples, colour, order="<"))
    assert LOW_BYTE_FIRST in swapped.warnings
    assert np.array_equal(swapped.pixels, decode_image(make_png(samples, colour)).pixels)


@pytest.mark.parametrize("method", [*range(5), None])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("depth", [8, 16])
def test_filters_passes_and_strips(
    method: int | None, interlaced: bool, colour: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row is right, wherever strips of a few rows end."""
    monkeypatch.setattr("cxr.images.png_stream.STRIP_BYTES", 7 * 130)
    grey = PHANTOM if depth == 8 else deep(16)
    data = make_png(
        in_colour(grey, colour, 2**depth - 1), colour, interlaced=interlaced, method=method
    )
    assert np.array_equal(decode_image(data).pixels, PHANTOM)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 1), (1, 9), (8, 8), (9, 17)])
def test_smallest_interlaced_pictures(size: tuple[int, int]) -> None:
    """Passes without a pixel are left out."""
    picture = PHANTOM[: size[0], : size[1], np.newaxis]
    assert np.array_equal(
        decode_image(make_png(picture, GREY, interlaced=True)).pixels, picture[..., 0]
    )


def test_partial_transparency_of_sixteen_bits() -> None:
    """Each pixel is laid on black by its own alpha."""
    alpha = np.linspace(0, 65_535, PHANTOM.size).reshape(PHANTOM.shape).astype(np.uint16)
    data = make_png(np.stack([deep(16), alpha], axis=-1), GREY_ALPHA)
    expected = PHANTOM * (alpha / 65_535)
    assert np.abs(decode_image(data).pixels - expected).max() <= 1


ANCILLARY = (b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"bKGD",
             b"hIST", b"sPLT", b"tIME", b"sBIT", b"eXIf", b"tRNS", b"acTL", b"prVt")  # fmt: skip


@pytest.mark.parametrize("kind", ANCILLARY)
@pytest.mark.parametrize(
    ("body", "crc"),
    [(b"\0" * 9, 1), (b"\xff" * 1_200_000, 1), (b"?\0\0" + zlib.compress(bytes(2_000_000)), 1)],
    ids=["short", "long", "inflates"],
)
def test_ancillary_chunk_with_a_wrong_checksum_never_decides(
    kind: bytes, body: bytes, crc: int
) -> None:
    """It is passed over; so would be a viewer's."""
    data = make_png(PHANTOM[..., np.newaxis], GREY, extra=chunk(kind, body, crc))
    assert np.array_equal(decode_image(data).pixels, PHANTOM)


@pytest.mark.parametrize("kind", [k for k in ANCILLARY if k != b"tRNS"])
@pytest.mark.parametrize("body", [b"", b"\xff" * 9, b"x\0\0" + zlib.compress(bytes(1_200_000))])
def test_malformed_ancillary_chunk_never_decides(kind: bytes, body: bytes) -> None:
    """However its content is wrong."""
    data = make_png(PHANTOM[..., np.newaxis], GREY, extra=chunk(kind, body))
    assert np.array_equal(decode_image(data).pixels, PHANTOM)


def sound() -> bytes:
    return make_png(PHANTOM[..., np.newaxis], GREY)


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"PLTE"])
def test_critical_chunk_with_a_wrong_checksum_is_corrupt(kind: bytes) -> None:
    """What the pixels are made of must be sound."""
    data = make_png(PHANTOM[..., np.newaxis], GREY, extra=chunk(b"PLTE", bytes(6)))
    at = data.index(kind) + 5
    with pytest.raises(UnreadableImageError, match="PNG file is truncated or corrupt"):
        decode_image(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_missing_end_is_forgiven_and_missing_pixels_are_not() -> None:
    """IEND says nothing; half of the rows are no picture."""
    assert np.array_equal(decode_image(sound()[:-12]).pixels, PHANTOM)
    header = sound()[:33]
    half = zlib.compress(filtered(PHANTOM[:75], 1, 0))
    with pytest.raises(UnreadableImageError):
        decode_image(header + chunk(b"IDAT", half) + chunk(b"IEND", b""))


def test_wrong_checksum_of_the_stream_is_corrupt() -> None:
    """Zlib's own, at the end of the image data."""
    stream = bytearray(zlib.compress(filtered(PHANTOM, 1, 0)))
    stream[-1] ^= 1
    with pytest.raises(UnreadableImageError):
        decode_image(sound()[:33] + chunk(b"IDAT", bytes(stream)) + chunk(b"IEND", b""))


def test_more_data_than_pixels_is_not_inflated() -> None:
    """A bomb behind a small picture is left alone."""
    stream = zlib.compress(filtered(PHANTOM, 1, 0) + bytes(300_000_000), 9)
    data = sound()[:33] + chunk(b"IDAT", stream) + chunk(b"IEND", b"")
    assert np.array_equal(decode_image(data).pixels, PHANTOM)


def test_image_data_in_many_small_chunks() -> None:
    """Read in order; more pieces than any writer makes are refused before they cost time."""
    stream = zlib.compress(filtered(PHANTOM, 1, 0))
    pieces = [chunk(b"IDAT", stream[at : at + 7]) for at in range(0, len(stream), 7)]
    assert np.array_equal(decode_image(sound()[:33] + b"".join(pieces)).pixels, PHANTOM)
    with pytest.raises(ImageTooLargeError, match="chunks"):
        decode_image(sound()[:33] + chunk(b"IDAT", b"") * 70_000)


def test_index_beyond_the_palette_is_black() -> None:
    """And the palette's own are its colours."""
    indices = np.array([[0, 1, 200]], dtype=np.uint8)[..., np.newaxis]
    palette = chunk(b"PLTE", bytes([9, 9, 9, 250, 250, 250]))
    assert decode_image(make_png(indices, INDEXED, extra=palette)).pixels.tolist() == [[9, 250, 0]]


MEASURED = """
import resource, sys
from cxr.images.decoding import decode_image
from cxr.errors import CxrError
decode_image(open(sys.argv[1], "rb").read())
data = open(sys.argv[2], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(data)
except CxrError:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_memory_is_at_most_four_bytes_a_pixel(
    colour: int, interlaced: bool, tmp_path: pytest.TempPathFactory
) -> None:
    """Sixteen bits of each channel, which a whole decoded picture takes up to eight bytes for."""
    side = 4000
    samples = in_colour(np.zeros((side, side), np.uint16), colour, 7)
    header = struct.pack(">IIBBBBB", side, side, 16, colour, 0, 0, int(interlaced))
    lines = sum(-(-(side - top) // dy) for _, top, _, dy in ADAM7) if interlaced else side
    stream = zlib.compress(bytes(samples.nbytes + lines), 1)
    small, large = tmp_path / "small.png", tmp_path / "large.png"  # type: ignore[operator]
    small.write_bytes(encode_png(PHANTOM))
    large.write_bytes(MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", stream))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(small), str(large)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) <= 4 * side * side


def test_colours_are_rounded_to_the_nearest_grey() -> None:
    """Five levels of blue are 0.57 of grey."""
    assert _luma(np.array([[[0, 0, 5]]], dtype=np.uint8)).tolist() == [[1]]


@pytest.mark.parametrize("channel", range(3), ids=["red", "green", "blue"])
def test_every_channel_counts_as_colour(channel: int) -> None:
    """A picture that is grey but for one of them is in colour."""
    pixels = np.full((64, 64, 3), 100, dtype=np.uint8)
    pixels[..., channel] += 80
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    assert decode_image(file.getvalue()).chroma > MAX_CHROMA
