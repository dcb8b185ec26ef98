"""What a JPEG or PNG file may make its decoder do, whatever its size."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from imagecodecs import jpeg2k_encode
from PIL import Image

from cxr.errors import ImageTooLargeError
from cxr.images.decoding import DecodeOptions, decode_image
from cxr.images.png_stream import MAX_CHUNKS, read_png
from cxr.pixels.jpeg_markers import MAX_SCANS, MAX_SEGMENTS, MAX_STRAY_BYTES, verify_markers
from export.phantom import draw_phantom, encode_jpeg, encode_png
from tests.cost import cost_of
from tests.hostile import (
    ROOT,
    encapsulated,
    fill_bomb,
    progressive_jpeg,
    scan_bomb,
    segment_bomb,
)

PROGRESSIVE = f"{ROOT}.4.55"
SIDE = 256


def junk_bomb() -> bytes:
    """Bytes that are no segment, in front of the first."""
    sound = progressive_jpeg(SIDE)
    begin = sound.index(b"\xff\xdb")
    return sound[:begin] + bytes(5_000_000) + sound[begin:]


def hidden_scans() -> bytes:
    """Scans behind an end marker within a comment, which decoders skip."""
    sound = progressive_jpeg(SIDE)
    last = sound.rindex(b"\xff\xda")
    comment = b"\xff\xfe\x00\x04\xff\xd9"
    return sound[:last] + comment + sound[last:-2] * 20_000 + sound[-2:]


JPEG_BOMBS: dict[str, Callable[[], bytes]] = {
    "scans": scan_bomb,
    "scans behind a comment": hidden_scans,
    "huffman tables": lambda: segment_bomb(200_000, 0xC4),
    "quantisation tables": lambda: segment_bomb(200_000, 0xDB),
    "application segments": lambda: segment_bomb(200_000, 0xE5),
    "comments": lambda: segment_bomb(200_000, 0xFE),
    "fill bytes": fill_bomb,
    "junk": junk_bomb,
}


@pytest.mark.parametrize("wrap", [bytes, lambda data: encapsulated(PROGRESSIVE, data, side=SIDE)])
@pytest.mark.parametrize("name", JPEG_BOMBS)
def test_jpeg_bomb_is_refused_at_little_cost(name: str, wrap: Callable[[bytes], bytes]) -> None:
    """By itself and inside DICOM, in the time that a sound file of its size takes."""
    data = wrap(JPEG_BOMBS[name]())

    def read() -> None:
        with pytest.raises(ImageTooLargeError, match="JPEG data hold more than"):
            decode_image(data)

    cost = cost_of(read)
    assert cost.cpu_s < 0.05 + len(data) * 5e-9  # its digest is made of all of it
    assert cost.peak_bytes < 4 << 20


def with_more(data: bytes, at: int, more: bytes) -> bytes:
    return data[:at] + more + data[at:]


JPEG = progressive_jpeg(SIDE)
AT_BOUND = {
    "scans": scan_bomb(MAX_SCANS - JPEG.count(b"\xff\xda") + 1),
    "segments": segment_bomb(MAX_SEGMENTS - 20, 0xFE),
    "fill bytes": with_more(JPEG, 2, b"\xff" * MAX_STRAY_BYTES),
    "trailing data": JPEG + b"\xff\xda" * 10_000,
    "thumbnail": with_more(JPEG, 2, b"\xff\xe5\xff\xf0" + b"\xff\xda" * 0x7FF7),
}


@pytest.mark.parametrize("name", AT_BOUND)
def test_jpeg_at_its_bounds_is_read(name: str) -> None:
    """What only looks like scans does not count."""
    assert decode_image(AT_BOUND[name]).pixels.shape == (SIDE, SIDE)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [True, False])
def test_sound_jpeg_is_far_from_the_bounds(mode: str, progressive: bool) -> None:
    """As libraries write it, with a large colour profile."""
    buffer = io.BytesIO()
    picture = Image.fromarray(draw_phantom(3)).convert(mode)
    picture.save(buffer, "JPEG", progressive=progressive, icc_profile=bytes(2_000_000))
    assert 1 <= verify_markers(buffer.getvalue()) <= MAX_SCANS / 1.5


@pytest.mark.parametrize("restart", [0, 1, 100])
def test_restart_markers_are_no_segments(restart: int) -> None:
    """There may be one for each block."""
    buffer = io.BytesIO()
    Image.fromarray(draw_phantom(3)).save(buffer, "JPEG", restart_marker_blocks=restart)
    assert verify_markers(buffer.getvalue()) == 1
    assert decode_image(buffer.getvalue()).pixels.shape == (512, 640)


def test_jpeg_that_needs_much_memory_may_have_fewer_pixels() -> None:
    """The coefficients of a progressive one are all held at a time."""
    sizes = {"L": 3, "RGB": 12}
    for mode, held in sizes.items():
        data = progressive_jpeg(SIDE, mode)
        enough = DecodeOptions(max_pixels=SIDE * SIDE * (held + 6) // 4)
        assert decode_image(data, enough).pixels.shape == (SIDE, SIDE)
        with pytest.raises(ImageTooLargeError, match="in this encoding"):
            decode_image(data, DecodeOptions(max_pixels=SIDE * SIDE))


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind))


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"abCd"])
@pytest.mark.parametrize("place", ["before the data", "behind them"])
def test_png_of_many_chunks_is_refused(kind: bytes, place: str) -> None:
    """Each takes a decoder microseconds, and the file 12 bytes."""
    sound = encode_png(draw_phantom(3))
    at = sound.index(b"IDAT") - 4 if place == "before the data" else len(sound) - 12
    data = with_more(sound, at, chunk(kind) * 100_000)

    def read() -> None:
        with pytest.raises(ImageTooLargeError, match=f"more than {MAX_CHUNKS} chunks"):
            decode_image(data)

    assert cost_of(read).cpu_s < 0.1


def test_no_shared_file_is_near_a_bound(shared_data: Path) -> None:
    """All pictures of the data sets, by their markers and chunks alone."""
    for path in shared_data.rglob("*"):
        if path.suffix in (".jpeg", ".jpg"):
            assert verify_markers(path.read_bytes()) <= MAX_SCANS / 2
        elif path.suffix == ".png":
            read_png(path.read_bytes())


def test_cut_streams_are_left_to_the_decoder() -> None:
    """Whatever is missing, nothing but a bound is told here."""
    sound = encode_jpeg(draw_phantom(3))
    for end in range(2, len(sound), 997):
        assert verify_markers(sound[:end]) <= 1


def jpeg_2000_bomb(kind: str, count: int) -> bytes:
    """A sound codestream with so many empty tile parts, or comments."""
    sound = jpeg2k_encode(draw_phantom(3)[:SIDE, :SIDE], codecformat="j2k", reversible=True)
    if kind == "comments":
        return with_more(sound, sound.index(b"\xff\x90"), b"\xff\x64\x00\x04\x00\x01" * count)
    part = b"\xff\x90\x00\x0a\x00\x00" + struct.pack(">IBB", 14, 1, 0) + b"\xff\x93"
    return with_more(sound, len(sound) - 2, part * count)


@pytest.mark.parametrize("kind", ["tile parts", "comments"])
def test_jpeg_2000_of_many_segments_is_refused(kind: str) -> None:
    """Each is stepped over by itself."""
    data = encapsulated(f"{ROOT}.4.90", jpeg_2000_bomb(kind, 300_000), side=SIDE)

    def read() -> None:
        with pytest.raises(ImageTooLargeError, match="more than 65536 segments"):
            decode_image(data)

    assert cost_of(read).cpu_s < 0.1
    few = encapsulated(f"{ROOT}.4.90", jpeg_2000_bomb("comments", 100), side=SIDE)
    assert decode_image(few).pixels.shape == (SIDE, SIDE)
