"""Lookup tables in every form that is met show the same picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cxr.dicom.lookup_tables import full_scale_of, read_table
from cxr.errors import UnreadableImageError
from cxr.images.decoding import decode_image
from export.phantom import draw_phantom
from tests.cxr.dicom_encodings import Edit, edited, in_syntax, sign_extended

PHANTOM = draw_phantom(5)[:128, :128]
ENTRIES = 4096  # for stored values of 12 bits
WHITE = 16 * 255  # the phantom's

Form = tuple[list[int], Any, str]
"""Descriptor, data and value representation of the data."""


def ramp(bits: int, entries: int = ENTRIES) -> NDArray[np.uint16]:
    """Entries that show a stored value of 16 g as grey level g of 255."""
    values = np.arange(entries) * (2**bits - 1) / WHITE
    return np.minimum(np.rint(values), 2**bits - 1).astype(np.uint16)


def packed(bits: int, entries: int = ENTRIES) -> bytes:
    return ramp(bits, entries).astype(np.uint8).tobytes()


FORMS: dict[str, Form] = {
    **{
        f"{bits} bits in words": ([ENTRIES, 0, bits], ramp(bits).tobytes(), "OW")
        for bits in range(8, 17)
    },
    **{
        f"16 bits declared, {bits} used": ([ENTRIES, 0, 16], ramp(bits).tobytes(), "OW")
        for bits in range(8, 16)
    },
    "12 bits declared, 16 used": ([ENTRIES, 0, 12], ramp(16).tobytes(), "OW"),
    "no bits declared": ([ENTRIES, 0, 0], ramp(12).tobytes(), "OW"),
    "8 bits packed": ([ENTRIES, 0, 8], packed(8), "OW"),
    "8 bits packed, as bytes": ([ENTRIES, 0, 8], packed(8), "OB"),
    "8 bits packed, 16 declared": ([ENTRIES, 0, 16], packed(8), "OW"),
    "odd number packed": ([ENTRIES - 1, 0, 8], packed(8, ENTRIES - 1) + b"\0", "OW"),
    "words as numbers": ([ENTRIES, 0, 12], ramp(12).tolist(), "US"),
    "words of unknown representation": ([ENTRIES, 0, 12], ramp(12).tobytes(), "UN"),
    "one word more": ([ENTRIES, 0, 12], ramp(12).tobytes() + b"\0\0", "OW"),
    "one entry not counted": ([ENTRIES - 1, 0, 12], ramp(12).tobytes(), "OW"),
    "two bytes more, packed": ([ENTRIES, 0, 8], packed(8) + b"\0\0", "OW"),
    "last entry missing": ([ENTRIES, 0, 12], ramp(12)[:-1].tobytes(), "OW"),
    "all 65,536 entries": ([0, 0, 12], ramp(12, 65_536).tobytes(), "OW"),
    "65,536 entries packed": ([0, 0, 8], packed(8, 65_536), "OW"),
    "first entry for a later value": ([ENTRIES - 160, 160, 12], ramp(12)[160:].tobytes(), "OW"),
}


def item_of(form: Form) -> Dataset:
    descriptor, data, representation = form
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", representation, data)
    return item


def with_voi_lut(form: Form) -> Edit:
    def edit(ds: Dataset) -> None:
        del ds.WindowCenter, ds.WindowWidth
        ds.VOILUTSequence = Sequence([item_of(form)])

    return edit


def with_modality_lut(form: Form) -> Edit:
    """A modality LUT and a window that is as wide as what its entries use."""
    descriptor, data, _ = form
    entries = descriptor[0] or 65_536
    is_packed = isinstance(data, bytes) and len(data) <= entries + 2
    words = np.frombuffer(data, np.uint16) if isinstance(data, bytes) else np.array(data)
    white = 255 if is_packed else full_scale_of(int(words.max()))

    def edit(ds: Dataset) -> None:
        item = item_of(form)
        item.ModalityLUTType = "US"
        ds.ModalityLUTSequence = Sequence([item])
        ds.WindowCenter, ds.WindowWidth = white / 2, white

    return edit


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("make", [with_voi_lut, with_modality_lut], ids=["voi", "modality"])
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def test_table_shows_the_picture(
    make: Callable[[Form], Edit], name: str, syntax: str | None
) -> None:
    """However the entries are stored and whatever the descriptor says of them."""
    edits = (make(FORMS[name]), *((in_syntax(syntax),) if syntax else ()))
    decoded = decode_image(edited(PHANTOM, *edits))
    assert np.abs(decoded.pixels.astype(int) - PHANTOM).max() <= 1
    assert decoded.warnings == ()


@pytest.mark.parametrize(
    "form",
    [
        ([ENTRIES, 0, 12], ramp(12).byteswap().tobytes(), "OW"),
        ([ENTRIES, 0, 8], np.frombuffer(packed(8), np.uint16).byteswap().tobytes(), "OW"),
        ([ENTRIES, 0, 8], packed(8), "OB"),
    ],
    ids=["words", "packed words", "bytes"],
)
def test_table_in_a_big_endian_file(form: Form) -> None:
    """Words are swapped, bytes are not."""
    decoded = decode_image(edited(PHANTOM, with_voi_lut(form), in_syntax(ExplicitVRBigEndian)))
    expected = FORMS["12 bits in words" if form[0][2] == 12 else "8 bits packed"]
    assert np.array_equal(
        decoded.pixels, decode_image(edited(PHANTOM, with_voi_lut(expected))).pixels
    )


@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("representation", ["US", "SS"])
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def test_first_value_of_signed_pixels(kind: str, representation: str, syntax: str | None) -> None:
    """Two's complement, also where nothing says so: implicit VR has no sign of its own."""

    def edit(ds: Dataset) -> None:
        sign_extended(ds)
        item = item_of(([ENTRIES, 0, 12], ramp(12).tobytes(), "OW"))
        first = -2048 if representation == "SS" else 65_536 - 2048
        item.add_new("LUTDescriptor", representation, [ENTRIES, first, 12])
        setattr(ds, kind, Sequence([item]))
        ds.WindowCenter, ds.WindowWidth = 4095 / 2, 4095  # for the modality's output

    edits = (edit, *((in_syntax(syntax),) if syntax else ()))
    pixels = decode_image(edited(PHANTOM, *edits)).pixels
    assert np.abs(pixels.astype(int) - PHANTOM).max() <= 1


def test_signed_descriptor_of_implicit_vr_is_read_as_it_is_stored() -> None:
    """Its representation depends on Pixel Representation, which its item lacks."""
    item = item_of(([3, 0, 16], [10, 20, 30], "US"))
    item.add_new("LUTDescriptor", "SS", [3, -2, 16])
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, item)
    buffer.seek(0)
    read = read_dataset(buffer, is_implicit_VR=True, is_little_endian=True)
    table = read_table(read)
    assert table.first == 65_536 - 2
    assert table.look_up(np.arange(-4, 4)).tolist() == [10, 10, 10, 20, 30, 30, 30, 30]


def test_first_value_below_zero_after_a_rescale() -> None:
    """The pixels have no sign, but what the VOI LUT is asked for has."""

    def edit(ds: Dataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        item = item_of(([ENTRIES, 65_536 - 1024, 12], ramp(12).tobytes(), "OW"))
        ds.VOILUTSequence = Sequence([item])

    pixels = decode_image(edited(PHANTOM, edit)).pixels
    assert np.abs(pixels.astype(int) - PHANTOM).max() <= 1


MALFORMED: dict[str, Sequence] = {
    "no items": Sequence([Dataset()]),
    "no data": Sequence([item_of(([ENTRIES, 0, 12], b"", "OW"))]),
    "half of the entries": Sequence([item_of(([ENTRIES, 0, 12], ramp(12)[:2000].tobytes(), "OW"))]),
    "descriptor of two values": Sequence([item_of(([ENTRIES, 0], ramp(12).tobytes(), "OW"))]),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_malformed_table_is_ignored_with_a_warning(kind: str, name: str) -> None:
    """The picture is shown through its window, and the sender told which attribute is wrong."""
    decoded = decode_image(edited(PHANTOM, lambda ds: setattr(ds, kind, MALFORMED[name])))
    assert np.abs(decoded.pixels.astype(int) - PHANTOM).max() <= 1
    (warning,) = decoded.warnings
    assert {"ModalityLUTSequence": "Modality LUT", "VOILUTSequence": "VOI LUT"}[kind] in warning


def as_palette(form: Form, colours: tuple[float, float, float] = (1, 1, 1)) -> Edit:
    """The stored values as indices of a palette."""

    def edit(ds: Dataset) -> None:
        del ds.WindowCenter, ds.WindowWidth
        ds.PhotometricInterpretation = "PALETTE COLOR"
        descriptor, data, representation = form
        for name, share in zip(("Red", "Green", "Blue"), colours, strict=True):
            shown = data if share == 1 else (np.frombuffer(data, np.uint16) * share).astype("<u2")
            ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", descriptor)
            shown = shown if isinstance(shown, (bytes, list)) else shown.tobytes()
            ds.add_new(f"{name}PaletteColorLookupTableData", representation, shown)

    return edit


@pytest.mark.parametrize("name", FORMS)
def test_palette_shows_the_picture(name: str) -> None:
    """A grey palette in any form is a grey picture."""
    decoded = decode_image(edited(PHANTOM, as_palette(FORMS[name])))
    assert np.abs(decoded.pixels.astype(int) - PHANTOM).max() <= 1
    assert decoded.chroma == 0


def test_colour_palette_has_luma_and_chroma() -> None:
    """A red one is dark and is told to be a colour."""
    form = FORMS["16 bits in words"]
    decoded = decode_image(edited(PHANTOM, as_palette(form, (1, 0, 0))))
    assert np.abs(decoded.pixels - 0.299 * PHANTOM).max() <= 1
    assert abs(decoded.chroma - PHANTOM.mean()) < 2


def segmented(words: list[int], entries: int = ENTRIES, bits: int = 16) -> Edit:
    def edit(ds: Dataset) -> None:
        del ds.WindowCenter, ds.WindowWidth
        ds.PhotometricInterpretation = "PALETTE COLOR"
        data = np.array(words, dtype=np.uint16 if bits > 8 else np.uint8).tobytes()
        for name in ("Red", "Green", "Blue"):
            ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [entries, 0, bits])
            ds.add_new(f"Segmented{name}PaletteColorLookupTableData", "OW", data)

    return edit


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param(segmented([0, 1, 0, 1, 4080, 65_535, 1, 15, 65_535]), PHANTOM, id="linear"),
        pytest.param(
            segmented([0, 16, *range(0, 4096, 256), 1, 4080, 65_535]), None, id="discrete first"
        ),
        pytest.param(
            segmented([0, 1, 0, 1, 1023, 65_535, *[0, 1, 0, 2, 1, 6, 0] * 3]),
            (np.arange(256) * 16 % 1024 * 255 / 1023)[PHANTOM],
            id="repeated by pointing",
        ),
        pytest.param(
            segmented([0, 1, 0, 1, 240, 255, 0, 15, *[255] * 15], 256, 8), None, id="8 bits"
        ),
    ],
)
def test_segmented_palette_is_read(edit: Edit, expected: NDArray[Any] | None) -> None:
    """Discrete, linear and indirect segments (PS3.3 C.7.9.2)."""
    decoded = decode_image(edited(PHANTOM, edit))
    assert decoded.chroma == 0
    if expected is not None:
        assert np.abs(decoded.pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "words",
    [[], [1, 10, 5], [0, 10, 1], [9, 1, 1], [2, 1, 0, 0], [0, 1, 0, 2, 60_000, 0, 0]],
    ids=["empty", "linear first", "cut", "no such segment", "points to itself", "points at itself"],
)
def test_segmented_palette_that_is_none_is_refused(words: list[int]) -> None:
    """In bounded time, and named."""
    with pytest.raises(UnreadableImageError, match="palette"):
        decode_image(edited(PHANTOM, segmented(words)))


@pytest.mark.parametrize(
    ("highest", "white"),
    [(0, 255), (200, 255), (256, 255), (257, 511), (4095, 4095), (65535, 65535)],
)
def test_white_is_that_of_the_bits_in_use(highest: int, white: int) -> None:
    """At least of eight, and a power of two is the white below it."""
    assert full_scale_of(highest) == white
