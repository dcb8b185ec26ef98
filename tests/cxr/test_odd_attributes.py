"""Odd attributes around sound pixels: the picture is read, and what was assumed or left is told."""

from __future__ import annotations

import numpy as np
import pytest
from imagecodecs import jpeg8_encode
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian

from cxr.errors import InputError, UnreadableImageError, UnsupportedDicomError
from cxr.images.decoding import decode_image
from export.phantom import draw_phantom
from tests.cxr.dicom_encodings import (
    CODECS,
    LOSSY,
    ROOT,
    Edit,
    compressed,
    edited,
    in_syntax,
    raw_file,
    sign_extended,
    signed,
)

PHANTOM = draw_phantom(5)[:128, :128]


def difference(data: bytes) -> int:
    return int(np.abs(decode_image(data).pixels.astype(int) - PHANTOM).max())


def without_window(ds: Dataset) -> None:
    del ds.WindowCenter, ds.WindowWidth


@pytest.mark.parametrize(
    "value", ["2040,0", " 2040", "2040\\100", "2040.", "+2040", "2.04e3", "2040,\\1"]
)
def test_window_is_read_where_it_has_one_meaning(value: str) -> None:
    """A decimal comma, blanks, several windows, an exponent."""
    data = raw_file(PHANTOM, "WindowCenter", value)
    assert difference(data) <= 1
    assert decode_image(data).warnings == ()


ODD_NUMBERS = {
    "words": "middle",
    "underscore": "2_040",
    "not a number": "nan",
    "infinite": "1e999",
    "two commas": "2,040,0",
    "comma and point": "2.040,0",
    "hexadecimal": "0x7f8",
    "first of two empty": "\\2040",
}


@pytest.mark.parametrize("value", ODD_NUMBERS.values(), ids=ODD_NUMBERS)
@pytest.mark.parametrize(
    ("keyword", "name"),
    [
        ("WindowCenter", "Window Center"),
        ("WindowWidth", "Window Width"),
        ("RescaleSlope", "Rescale Slope"),
        ("RescaleIntercept", "Rescale Intercept"),
    ],
)
def test_malformed_number_is_ignored_and_named(keyword: str, name: str, value: str) -> None:
    """The pixels are shown without it."""
    decoded = decode_image(raw_file(PHANTOM, keyword, value))
    assert any(name in warning and "ignored" in warning for warning in decoded.warnings)
    assert decoded.pixels.std() > 20


@pytest.mark.parametrize("slope", ["", "0"])
def test_slope_that_would_show_nothing_is_ignored(slope: str) -> None:
    """An empty one, and one of zero."""
    data = edited(
        PHANTOM,
        lambda ds: (
            ds.add_new("RescaleIntercept", "DS", "0"),
            ds.add_new("RescaleSlope", "DS", slope),
        ),
    )
    assert difference(data) <= 1
    assert any("Rescale Slope" in warning for warning in decode_image(data).warnings)


@pytest.mark.parametrize(
    ("edit", "assumed"),
    [
        ("PixelRepresentation", "Pixel Representation is absent; 0"),
        ("HighBit", "High Bit is absent; 11"),
        ("SamplesPerPixel", "Samples per Pixel is absent; 1"),
    ],
)
@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_absent_attribute_has_the_standards_default(edit: str, assumed: str, empty: bool) -> None:
    """The picture is read, and the assumption told."""

    def remove(ds: Dataset) -> None:
        delattr(ds, edit)
        if empty:
            ds.add_new(Tag(edit), "US", None)

    data = edited(PHANTOM, remove)
    assert difference(data) <= 1
    (warning,) = decode_image(data).warnings
    assert assumed in warning


def test_pixels_without_a_representation_have_no_sign() -> None:
    """The brightest value has the highest bit, which two's complement would make the darkest."""

    def edit(ds: Dataset) -> None:
        without_window(ds)
        del ds.PixelRepresentation
        ds.PixelData = np.array([[0, 4095]] * 2, np.uint16).tobytes()
        ds.Rows, ds.Columns = 2, 2

    assert decode_image(edited(PHANTOM, edit)).pixels.tolist() == [[0, 255]] * 2


def test_absent_bits_stored_is_those_allocated() -> None:
    """The window still says how they are shown."""
    data = edited(PHANTOM, lambda ds: delattr(ds, "BitsStored"), lambda ds: delattr(ds, "HighBit"))
    assert difference(data) <= 1
    assert len(decode_image(data).warnings) == 2


@pytest.mark.parametrize(
    ("keyword", "name"),
    [
        ("Rows", "Rows"),
        ("Columns", "Columns"),
        ("BitsAllocated", "Bits Allocated"),
        ("PhotometricInterpretation", "Photometric Interpretation"),
    ],
)
def test_attribute_that_nothing_stands_for_is_named(keyword: str, name: str) -> None:
    """Nobody is told that the file was truncated."""
    with pytest.raises(InputError, match=f"{name} is absent"):
        decode_image(edited(PHANTOM, lambda ds: delattr(ds, keyword)))


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"])
@pytest.mark.parametrize(
    ("representation", "value"), [("LO", "abc"), ("US", [256, 256]), ("LO", "1\\2")]
)
def test_number_that_is_none_is_named(keyword: str, representation: str, value: object) -> None:
    """By the attribute's name in the standard."""
    data = edited(PHANTOM, lambda ds: ds.add_new(Tag(keyword), representation, value))
    with pytest.raises(UnreadableImageError) as raised:
        decode_image(data)
    name = dictionary_description(keyword)
    assert str(raised.value) == f"The DICOM attribute {name} is not a single whole number."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"BitsStored": 17}, "Bits Stored contradicts"),
        ({"HighBit": 16}, "High Bit contradicts"),
        ({"SamplesPerPixel": 3}, "Samples per Pixel contradicts"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"BitsAllocated": 32}, "Bits Allocated must be"),
    ],
)
def test_contradiction_is_named(change: dict[str, int], message: str) -> None:
    """What was wrong, not that something was."""
    data = edited(PHANTOM, lambda ds: [setattr(ds, k, v) for k, v in change.items()] and None)
    with pytest.raises(InputError, match=message):
        decode_image(data)


@pytest.mark.parametrize(
    "value", [" MONOCHROME2", "MONOCHROME2  ", "  MONOCHROME2 ", "monochrome2 ", "MONOCHROME2\0"]
)
def test_blanks_around_a_code_are_insignificant(value: str) -> None:
    """PS3.5 6.2, for the one code that decides how pixels are read."""
    data = raw_file(PHANTOM, "PhotometricInterpretation", value, "CS")
    assert difference(data) <= 1
    assert decode_image(data).dicom.photometric_interpretation == "MONOCHROME2"  # type: ignore[union-attr]


def with_padding(value: int, representation: str) -> Edit:
    """The first rows are padding, as the value's sixteen bits; nothing says how it is shown."""

    def edit(ds: Dataset) -> None:
        without_window(ds)
        cells = np.frombuffer(ds.PixelData, np.uint16).copy()
        cells[: 20 * 128] = value & 0xFFFF
        ds.PixelData, ds.BitsStored, ds.HighBit = cells.tobytes(), 16, 15
        ds.add_new("PixelPaddingValue", representation, value)

    return edit


@pytest.mark.parametrize(
    ("value", "representation", "edit"),
    [
        (65_535, "US", None),
        (-1, "SS", None),
        (65_535, "US", in_syntax(ImplicitVRLittleEndian)),
        (40_000, "US", None),
        (40_000 - 65_536, "SS", None),
        (0, "US", None),
    ],
    ids=["unsigned", "signed", "implicit", "in range", "in range, signed", "zero"],
)
@pytest.mark.parametrize("pixels_signed", [False, True])
def test_padding_does_not_count_in_either_sign(
    value: int, representation: str, edit: Edit | None, pixels_signed: bool
) -> None:
    """What is below the padding is stretched over all greys."""

    def as_signed(ds: Dataset) -> None:
        ds.PixelRepresentation = 1

    edits = [with_padding(value, representation), *([as_signed] if pixels_signed else [])]
    pixels = decode_image(edited(PHANTOM, *edits, *([edit] if edit else []))).pixels[20:]
    shown = PHANTOM[20:].astype(float)
    expected = (shown - shown.min()) * 255 / (shown.max() - shown.min())
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("make", [signed, sign_extended], ids=["stored bits", "whole cell"])
def test_padding_of_signed_pixels_in_fewer_bits(make: Edit) -> None:
    """Two's complement of the bits stored, or of the cell."""

    def edit(ds: Dataset) -> None:
        make(ds)
        without_window(ds)
        cells = np.frombuffer(ds.PixelData, np.uint16).copy()
        padding = 0x0800 if make is signed else 0xF800  # -2048
        cells[: 20 * 128] = padding
        ds.PixelData = cells.tobytes()
        ds.add_new("PixelPaddingValue", "US", padding)

    pixels = decode_image(edited(PHANTOM, edit)).pixels[20:]
    assert (pixels.min(), pixels.max()) == (0, 255)


def with_offsets(*offsets: int) -> Edit:
    """Cut the frame into fragments and write a Basic Offset Table of any kind."""

    def edit(ds: Dataset) -> None:
        frame = encapsulated_frame(ds)
        table = b"".join(offset.to_bytes(4, "little") for offset in offsets)
        pieces = [frame] if ds.file_meta.TransferSyntaxUID == f"{ROOT}.5" else halves(frame)
        items = [table, *pieces]
        ds.PixelData = b"".join(
            b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item for item in items
        )

    return edit


def halves(frame: bytes) -> list[bytes]:
    middle = len(frame) // 4 * 2
    return [frame[:middle], frame[middle:]]


def encapsulated_frame(ds: Dataset) -> bytes:
    return get_frame(ds.PixelData, 0, number_of_frames=1)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("offsets", [(), (0,), (12,), (0, 400), (99_999_999,), (8, 4, 0)], ids=str)
def test_offset_table_of_one_frame_is_not_needed(name: str, offsets: tuple[int, ...]) -> None:
    """All fragments are the frame, whatever the table says."""
    plain = decode_image(edited(PHANTOM, CODECS[name])).pixels
    data = edited(PHANTOM, CODECS[name], with_offsets(*offsets))
    assert np.array_equal(decode_image(data).pixels, plain)


def test_extended_offset_table_is_not_needed_either() -> None:
    """PS3.3 C.7.6.3.1.8."""

    def edit(ds: Dataset) -> None:
        ds.ExtendedOffsetTable = (777).to_bytes(8, "little")
        ds.ExtendedOffsetTableLengths = (5).to_bytes(8, "little")

    for name in CODECS:
        assert difference(edited(PHANTOM, CODECS[name], edit)) <= 1


def overshooting(ds: Dataset) -> None:
    """White text on the picture, so that a lossy encoder overshoots."""
    cells = np.frombuffer(ds.PixelData, np.uint16).reshape(128, 128) // 4  # ten bits
    cells[40:80:3, 30:90] = 1023
    cells[41:80:3, 30:90] = 0
    ds.PixelData, ds.BitsStored, ds.HighBit = cells.tobytes(), 10, 9
    ds.WindowCenter, ds.WindowWidth = 511.5, 1023


@pytest.mark.parametrize(
    ("uid", "options"),
    [(f"{ROOT}.4.51", {"level": 60, "bitspersample": 12})],
    ids=["12-bit JPEG"],
)
def test_overshoot_of_a_lossy_frame_is_clamped(uid: str, options: dict[str, int]) -> None:
    """There are no black specks in white: what is brighter than white is white."""
    lossless = decode_image(edited(PHANTOM, overshooting)).pixels
    lossy = decode_image(
        edited(PHANTOM, overshooting, compressed(uid, lambda cells: jpeg8_encode(cells, **options)))
    ).pixels
    white = lossless == 255
    assert white.sum() > 100
    assert lossy[white].min() > 128


def coloured_frame(*, rgb: bool, jfif: bool, adobe: int | None) -> bytes:
    """A colour JPEG whose components are RGB or YCbCr, with the markers asked for."""
    colours = np.stack([PHANTOM] * 3, axis=-1)
    space = "RGB" if rgb else "YCBCR"
    plain = jpeg8_encode(colours, level=95, colorspace="RGB", outcolorspace=space)
    kept, position = [plain[:2]], 2
    while plain[position + 1] != 0xDA:
        length = 2 + int.from_bytes(plain[position + 2 : position + 4], "big")
        if plain[position + 1] not in (0xE0, 0xEE):
            kept.append(plain[position : position + length])
        position += length
    if adobe is not None:
        kept.insert(1, b"\xff\xee\x00\x0eAdobe\0d\0\0\0\0" + bytes([adobe]))
    if jfif:
        kept.insert(1, b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0")
    return b"".join(kept) + plain[position:]


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize(
    ("rgb", "jfif", "adobe"),
    [(False, True, None), (False, True, 1), (False, False, 1), (True, False, 0)],
    ids=["JFIF", "JFIF and Adobe", "Adobe YCbCr", "Adobe RGB"],
)
def test_marker_of_a_jpeg_decides_over_the_label(
    label: str, rgb: bool, jfif: bool, adobe: int | None
) -> None:
    """JFIF is YCbCr, Adobe says which; the DICOM attribute is asked only if neither is there."""

    def edit(ds: Dataset) -> None:
        without_window(ds)
        frame = coloured_frame(rgb=rgb, jfif=jfif, adobe=adobe)
        ds.file_meta.TransferSyntaxUID = f"{ROOT}.4.50"
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PlanarConfiguration = label, 3, 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7

    decoded = decode_image(edited(PHANTOM, edit))
    assert decoded.chroma < 3
    assert np.abs(decoded.pixels.astype(int) - PHANTOM).mean() < 3


@pytest.mark.parametrize("name", LOSSY)
def test_cut_pixels_alone_are_called_truncated(name: str) -> None:
    """And are."""

    def cut(ds: Dataset) -> None:
        ds.PixelData = encapsulate([encapsulated_frame(ds)[:200]])

    with pytest.raises(UnreadableImageError, match="pixel data are truncated or corrupt"):
        decode_image(edited(PHANTOM, *LOSSY[name], cut))


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda ds: setattr(ds, "PhotometricInterpretation", "HSV"), UnsupportedDicomError),
        (lambda ds: delattr(ds, "PixelData"), UnsupportedDicomError),
        (lambda ds: setattr(ds, "Rows", 0), UnreadableImageError),
    ],
    ids=["photometric", "no pixels", "no rows"],
)
def test_nothing_else_is_called_truncated(edit: Edit, error: type[InputError]) -> None:
    """An error names what is wrong."""
    with pytest.raises(error) as caught:
        decode_image(edited(PHANTOM, edit))
    assert "truncated" not in str(caught.value)
