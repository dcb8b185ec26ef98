"""Cells of pixel data: every layout of them is the same picture."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from cxr.images.decoding import decode_image
from export.phantom import draw_phantom
from tests.cxr.dicom_encodings import (
    ROOT,
    Edit,
    colour,
    compressed,
    edited,
    eight_bits,
    in_bits,
    in_syntax,
    lossless_jpeg,
    palette,
    pixels_of,
    signed,
)

PICTURE = draw_phantom(5)[100:229, 80:208]  # 129 rows, 128 columns
ODD = draw_phantom(5)[100:229, 80:209]


def of_words(ds: Dataset) -> None:
    """Colour of six bytes a pixel."""
    cells = np.stack([pixels_of(ds), pixels_of(ds) // 2, pixels_of(ds) // 3], axis=-1)
    colour()(ds)
    ds.PixelData = (cells << 4).tobytes()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15


def palette_of_words(ds: Dataset) -> None:
    """Indices of two bytes."""
    palette(ds)
    ds.PixelData = pixels_of(ds).astype(np.uint16).tobytes()
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15


def padded(ds: Dataset) -> None:
    """An even length, as the standard has it."""
    ds.PixelData += b"\0" * (len(ds.PixelData) % 2)


def in_big_endian(ds: Dataset) -> None:
    """Words whose high byte comes first; bytes stand in words, too."""
    padded(ds)
    ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).byteswap().tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian


def longer(ds: Dataset) -> None:
    """More than the picture needs, which means nothing."""
    ds.PixelData += bytes(1000)


LAYOUTS: dict[str, tuple[Edit, ...]] = {
    "words": (in_bits(16),),
    "bytes": (eight_bits, padded),
    "signed": (signed,),
    "colour": (colour(), padded),
    "colour of words": (of_words,),
    "palette": (palette, padded),
    "palette of words": (palette_of_words,),
}
SYNTAXES: dict[str, Edit] = {
    "implicit": in_syntax(ROOT),
    "deflated": in_syntax(f"{ROOT}.1.99"),
    "big endian": in_big_endian,
    "with more behind": longer,
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("picture", [PICTURE, ODD], ids=["even", "odd"])
def test_every_syntax_is_the_same_picture(picture: np.ndarray, layout: str, syntax: str) -> None:
    """Bit for bit, whatever is viewed, copied, swapped or inflated."""
    plain = edited(picture, *LAYOUTS[layout])
    other = rewritten(plain, SYNTAXES[syntax])
    assert np.array_equal(decode_image(other).pixels, decode_image(plain).pixels)


def rewritten(data: bytes, edit: Edit) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    edit(ds)
    syntax = ds.file_meta.TransferSyntaxUID
    file = io.BytesIO()
    pydicom.dcmwrite(
        file,
        ds,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=False,
    )
    return file.getvalue()


@pytest.mark.parametrize(("bits", "stored_bits"), [(8, 12), (8, 16), (10, 12), (10, 16)])
def test_frame_of_fewer_bits_than_are_stored_has_their_sign(bits: int, stored_bits: int) -> None:
    """Samples of a codec that knows none, of each width of its own and the dataset's."""
    half = 1 << (bits - 1)
    values = PICTURE.astype(np.int32)
    codes = ((values - half) & ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)

    def edit(ds: Dataset) -> None:
        compressed(f"{ROOT}.4.70", lambda _: lossless_jpeg(1, bits)(codes))(ds)
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = stored_bits, stored_bits - 1, 1
        ds.RescaleIntercept, ds.RescaleSlope = half, 1
        ds.WindowCenter, ds.WindowWidth = 127.5, 255

    shown = decode_image(edited(PICTURE, edit)).pixels
    assert np.abs(shown.astype(int) - values).max() <= 1
