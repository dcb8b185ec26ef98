"""How much memory a pixel takes to decode, in every encoding: what limits rely on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imagecodecs import jpegls_encode
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.encoders import RLELosslessEncoder

from cxr.dicom.part10 import DicomFile
from cxr.dicom.pixel_data import decoding_bytes
from cxr.dicom.syntaxes import RLE
from cxr.errors import ImageTooLargeError
from cxr.images.decoding import PIXEL_BYTES, DecodeOptions, decode_image
from export.phantom import draw_phantom
from tests.conftest import REPOSITORY
from tests.cost import cost_of
from tests.cxr.dicom_encodings import (
    ENCODINGS,
    ROOT,
    Edit,
    colour_compressed,
    compressed,
    edited,
    eight_bits,
    make_colour,
    pixels_of,
)
from tests.hostile import rle_bomb

pytestmark = pytest.mark.xdist_group("waits")

SIDE = 1600
UNCOUNTED_BYTES = 2 << 20  # tables of 65,536 entries, strips, the header

MEASURE = """
import ctypes, json, sys
from cxr.images.decoding import DecodeOptions, decode_image
from tests.hostile import dicom_file, progressive_jpeg

def held(what):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what))

for warm_up in (dicom_file(), progressive_jpeg(64)):
    decode_image(warm_up)
peaks = {}
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = held("VmRSS")
    image = decode_image(data)
    peaks[path] = held("VmHWM") - before
    del image
print(json.dumps(peaks))
"""


def in_colour(photometric: str, encode: Callable[[np.ndarray], bytes], uid: str) -> Edit:
    return colour_compressed(uid, photometric, encode)


def progressive(mode: str) -> Callable[[np.ndarray], bytes]:
    """Encode in scans, without subsampling."""

    def encode(cells: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(cells).convert(mode).save(buffer, "JPEG", progressive=True, subsampling=0)
        return buffer.getvalue()

    return encode


def rle_in_colour(ds: Dataset) -> None:
    """Three segments."""
    gray = (pixels_of(ds) >> 4).astype(np.uint8)
    frame = RLELosslessEncoder.encode(
        np.stack([gray] * 3, axis=-1),
        rows=ds.Rows,
        columns=ds.Columns,
        samples_per_pixel=3,
        bits_allocated=8,
        bits_stored=8,
        pixel_representation=0,
        number_of_frames=1,
        photometric_interpretation="RGB",
        planar_configuration=0,
        encoding_plugin="pydicom",
    )
    compressed(RLE, lambda _: frame)(ds)
    make_colour(ds, "RGB")


def rgb_of_words(ds: Dataset) -> None:
    """Six bytes a pixel."""
    cells = pixels_of(ds) << 4
    make_colour(ds, "RGB")
    ds.PixelData = np.stack([cells] * 3, axis=-1).tobytes()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15


MORE: dict[str, tuple[Edit, ...]] = {
    "rle in colour": (rle_in_colour,),
    "rgb of words": (rgb_of_words,),
    "jpeg progressive": (eight_bits, compressed(f"{ROOT}.4.55", progressive("L"))),
    "jpeg progressive in colour": (in_colour("YBR_FULL", progressive("RGB"), f"{ROOT}.4.55"),),
    "jpeg-ls in ybr": (in_colour("YBR_FULL", jpegls_encode, f"{ROOT}.4.80"),),
}
SAMPLED = {  # those whose decoding goes another way
    *("explicit", "deflated", "big endian", "8 bits", "signed", "sign extended", "voi lut"),
    *("rle", "jpeg lossless sv1", "jpeg-ls", "jpeg 2000 lossless", "htj2k lossless", "htj2k"),
    *("jpeg baseline", "jpeg extended, 12 bits", "jpeg baseline in colour", "palette"),
    *("rgb by pixel", "rgb by plane", "ybr full", "ybr full 422", "rgb jpeg-ls"),
    *("rgb lossless jpeg", "rct jpeg 2000", "rle, signed", "jpeg-ls, signed"),
}
FILES: dict[str, tuple[Edit, ...]] = {
    **{one.name: one.edits for one in ENCODINGS if one.name in SAMPLED},
    **MORE,
}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A large noisy phantom."""
    large = Image.fromarray(draw_phantom(3)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(-3, 4, (SIDE, SIDE))
    return np.clip(np.asarray(large).astype(np.int16) + noise, 0, 255).astype(np.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_encoding_takes_more_memory_than_is_reckoned_with(
    picture: np.ndarray, tmp_path: Path
) -> None:
    """At most four bytes a pixel beside the file, or as many as its limit is lowered for."""
    allowed = {}
    for number, edits in enumerate(FILES.values()):
        data = edited(picture, *edits)
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(data)
        allowed[str(path)] = max(decoding_bytes(DicomFile(data).header()), PIXEL_BYTES)
    command = [sys.executable, "-c", MEASURE, *allowed]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    peaks = json.loads(done.stdout)
    print({n: round(peaks[p] / SIDE**2, 2) for n, p in zip(FILES, allowed, strict=True)})
    pixels = SIDE * SIDE
    for name, (path, most) in zip(FILES, allowed.items(), strict=True):
        assert peaks[path] < most * pixels + UNCOUNTED_BYTES, (name, peaks[path] / pixels, most)


def test_only_jpeg_2000_and_colour_need_more_than_four_bytes(picture: np.ndarray) -> None:
    """What detectors make is accepted up to the full limit."""
    small = picture[:64, :64]
    heavy = {
        name
        for name, edits in FILES.items()
        if decoding_bytes(DicomFile(edited(small, *edits)).header()) > PIXEL_BYTES + 1
    }
    assert all(
        "2000" in n or "j2k" in n or "colour" in n or "rgb" in n or "ybr" in n for n in heavy
    )


@pytest.mark.parametrize("name", ["jpeg 2000 lossless", "rct jpeg 2000", "jpeg baseline in colour"])
def test_what_needs_more_memory_may_have_fewer_pixels(name: str, picture: np.ndarray) -> None:
    """The answer says what to send instead."""
    data = edited(picture[:64, :64], *FILES[name])
    share = decoding_bytes(DicomFile(data).header()) / PIXEL_BYTES
    enough = int(64 * 64 * share) + 1
    assert decode_image(data, DecodeOptions(max_pixels=enough)).pixels.shape == (64, 64)
    with pytest.raises(ImageTooLargeError, match="uncompressed pixels in grey"):
        decode_image(data, DecodeOptions(max_pixels=enough - 2))


@pytest.mark.parametrize("segments", ["too long", "too many"])
def test_run_length_bomb_is_refused_within_four_bytes_a_pixel(segments: str) -> None:
    """A segment is decoded into as much as the image has."""
    data = rle_bomb()
    if segments == "too many":
        at = data.index(b"\x01\0\0\0\x40\0\0\0")
        data = data[:at] + b"\x0f" + data[at + 1 :]

    def read() -> None:
        with pytest.raises(Exception, match="truncated or corrupt"):
            decode_image(data)

    cost = cost_of(read)
    assert cost.cpu_s < 0.1
    assert cost.peak_bytes < 4 * 512 * 512 + (1 << 20)
