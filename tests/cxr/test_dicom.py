"""DICOM pixels in the standard's order of transformations."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from cxr.errors import (
    CxrError,
    ImageTooLargeError,
    UnreadableImageError,
    UnsupportedDicomError,
    UnsupportedMediaError,
)
from cxr.images.decoding import DecodeOptions, decode_image
from cxr.pixels.image import Window
from cxr.verdict.scope import assess_scope
from export.phantom import draw_phantom, encode_dicom, encode_jpeg

PHANTOM = draw_phantom(5)


def edited(edit: Callable[[Dataset], None]) -> bytes:
    """A DICOM phantom with some attributes changed."""
    ds = pydicom.dcmread(io.BytesIO(encode_dicom(PHANTOM)))
    edit(ds)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def without_window(ds: Dataset) -> None:
    del ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction


def with_rescale(ds: Dataset) -> None:
    ds.RescaleSlope, ds.RescaleIntercept = 2, -1000
    ds.WindowCenter, ds.WindowWidth = 2 * 2040 - 1000, 2 * 4080


def with_overlay_bits(ds: Dataset) -> None:
    stored = np.frombuffer(ds.PixelData, dtype=np.uint16) | 0xF000
    ds.PixelData = stored.tobytes()


def signed(ds: Dataset) -> None:
    stored = np.frombuffer(ds.PixelData, dtype=np.uint16).astype(np.int16) - 2048
    ds.PixelData = (stored & 0x0FFF).astype(np.uint16).tobytes()
    ds.PixelRepresentation, ds.WindowCenter = 1, 2040 - 2048


def with_modality_lut(ds: Dataset) -> None:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [4096, 0, 16], "US"
    item.LUTData = (np.arange(4096) * 2).astype(np.uint16).tobytes()
    ds.ModalityLUTSequence = Sequence([item])
    ds.WindowCenter, ds.WindowWidth = 4080, 8160


def with_voi_lut(ds: Dataset) -> None:
    without_window(ds)
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 12]
    item.LUTData = np.arange(4096).astype(np.uint16).tobytes()
    ds.VOILUTSequence = Sequence([item])


def several_windows(ds: Dataset) -> None:
    ds.WindowCenter, ds.WindowWidth = [2040, 100], [4080, 10]


@pytest.mark.parametrize(
    "edit",
    [with_rescale, with_overlay_bits, signed, with_modality_lut, with_voi_lut, several_windows],
)
def test_same_picture_in_every_encoding(edit: Callable[[Dataset], None]) -> None:
    """However the grey levels are encoded, the decoded picture is the same."""
    decoded = decode_image(edited(edit))
    assert np.abs(decoded.pixels.astype(int) - PHANTOM).max() <= 1


def test_monochrome1_is_inverted_last() -> None:
    """A MONOCHROME1 file shows bone bright like the MONOCHROME2 one."""
    decoded = decode_image(encode_dicom(PHANTOM, monochrome1=True))
    assert np.abs(decoded.pixels.astype(int) - PHANTOM).max() <= 1


def test_without_voi_the_range_of_the_values_is_shown() -> None:
    """The lowest value becomes black and the highest white; padding does not count."""

    def edit(ds: Dataset) -> None:
        without_window(ds)
        stored = np.frombuffer(ds.PixelData, dtype=np.uint16).copy()
        stored[:50] = 4095
        ds.PixelData = stored.tobytes()
        ds.add_new("PixelPaddingValue", "US", 4095)

    pixels = decode_image(edited(edit)).pixels
    low, high = int(PHANTOM.min()), int(PHANTOM.ravel()[50:].max())
    expected = (PHANTOM.astype(float) - low) * 255 / (high - low)
    assert np.abs(pixels.ravel()[50:] - expected.ravel()[50:]).max() <= 1.0


@pytest.mark.parametrize(
    ("function", "expected"),
    [("LINEAR", 128), ("LINEAR_EXACT", 128), ("SIGMOID", 128)],
)
def test_window_centre_is_middle_grey(function: str, expected: int) -> None:
    """Every VOI function maps the window's centre to the middle of the range."""

    def edit(ds: Dataset) -> None:
        ds.PixelData = np.full(PHANTOM.shape, 1000, np.uint16).tobytes()
        ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 1000, 400, function

    assert abs(int(decode_image(edited(edit)).pixels[0, 0]) - expected) <= 1


@pytest.mark.parametrize(
    ("function", "grey"),
    [("LINEAR", [0, 43, 128, 213, 255]), ("LINEAR_EXACT", [0, 64, 128, 191, 255])],
)
def test_linear_window_is_one_value_narrower_than_the_exact_one(
    function: str, grey: list[int]
) -> None:
    """Width 4 spans 3 steps from centre - 2 (PS3.3 C.11.2.1.2), or 4 (C.11.2.1.3)."""

    def edit(ds: Dataset) -> None:
        shift = 0.5 if function == "LINEAR" else 0.0
        ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 2 + shift, 4, function
        ds.Rows, ds.Columns, ds.PixelData = 1, 5, np.arange(5, dtype=np.uint16).tobytes()

    assert np.abs(decode_image(edited(edit)).pixels[0].astype(int) - grey).max() <= 1


@pytest.mark.parametrize("edit", [with_voi_lut, several_windows, without_window])
def test_chosen_window_replaces_the_objects_own(edit: Callable[[Dataset], None]) -> None:
    """Whether that is a LUT, a window, or the whole range; the range stays told."""
    chosen = Window(2040, 4080, "LINEAR")
    image = decode_image(edited(edit), DecodeOptions(window=chosen))
    assert np.abs(image.pixels.astype(int) - PHANTOM).max() <= 1
    assert image.display is not None
    assert image.display.window is not None
    assert (image.display.window.center, image.display.window.width) == (2040, 4080)
    assert (image.display.low, image.display.high) == (
        16 * int(PHANTOM.min()),
        16 * int(PHANTOM.max()),
    )


@pytest.mark.parametrize("width", ["nan", "inf", "0"])
def test_window_that_is_none_is_not_applied(width: str) -> None:
    """The image is shown by its range instead."""

    def edit(ds: Dataset) -> None:
        ds.WindowWidth = float(width)

    image = decode_image(edited(edit))
    assert image.display is not None
    assert image.display.window is None
    assert (image.pixels.min(), image.pixels.max()) == (0, 255)


def test_facts_hold_no_patient_data() -> None:
    """What is kept of the header are technical codes only."""
    facts = decode_image(encode_dicom(PHANTOM)).dicom
    assert facts is not None
    assert (facts.modality, facts.body_part, facts.view_position) == ("DX", "CHEST", "PA")
    assert facts.photometric_interpretation == "MONOCHROME2"


def no_pixels(ds: Dataset) -> None:
    del ds.PixelData


def several_frames(ds: Dataset) -> None:
    ds.NumberOfFrames, ds.Rows = 2, PHANTOM.shape[0] // 2


def huge(ds: Dataset) -> None:
    ds.Rows = ds.Columns = 65535


def zero_rows(ds: Dataset) -> None:
    ds.Rows = 0


def float_pixels(ds: Dataset) -> None:
    ds.BitsAllocated = ds.BitsStored = 32


def odd_photometric(ds: Dataset) -> None:
    ds.PhotometricInterpretation = "HSV"


def short_pixels(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (no_pixels, UnsupportedDicomError),
        (several_frames, UnsupportedDicomError),
        (huge, ImageTooLargeError),
        (zero_rows, UnreadableImageError),
        (float_pixels, UnsupportedDicomError),
        (odd_photometric, UnsupportedDicomError),
        (short_pixels, UnreadableImageError),
    ],
)
def test_what_cannot_be_read_is_refused(
    edit: Callable[[Dataset], None], error: type[CxrError]
) -> None:
    """Each kind of unusable object has its own error."""
    with pytest.raises(error):
        decode_image(edited(edit))


@pytest.mark.parametrize("kept", [140, 300, 400, 100_000])
def test_truncated_object_is_unreadable(kept: int) -> None:
    """A Part 10 file cut anywhere is refused with one of the two errors of unusable input."""
    with pytest.raises((UnreadableImageError, UnsupportedDicomError)):
        decode_image(encode_dicom(PHANTOM)[:kept])


def test_unknown_transfer_syntax_is_named() -> None:
    """A syntax without a decoder is a matter of media type, and its UID is told."""

    def edit(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG-2
        ds.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
        ds["PixelData"].VR = "OB"

    with pytest.raises(UnsupportedMediaError, match=r"1\.2\.840\.10008\.1\.2\.4\.100"):
        decode_image(edited(edit))


def as_jpeg(ds: Dataset, frame: bytes) -> None:
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds["PixelData"].VR = "OB"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    without_window(ds)


def test_frame_that_declares_another_size_is_refused_undecoded() -> None:
    """A small file cannot make the decoder allocate what its dataset does not declare."""

    def edit(ds: Dataset) -> None:
        frame = bytearray(encode_jpeg(PHANTOM))
        size = frame.index(b"\xff\xc0") + 5
        frame[size : size + 4] = b"\xff\xdc\xff\xdc"  # 65500 x 65500
        as_jpeg(ds, bytes(frame))

    with pytest.raises(UnreadableImageError, match="size of the compressed frame contradicts"):
        decode_image(edited(edit))


def test_truncated_compressed_object_is_unreadable() -> None:
    """An encapsulated image cut short is not taken for a document without pixels."""
    data = edited(lambda ds: as_jpeg(ds, encode_jpeg(PHANTOM)))
    assert abs(decode_image(data).pixels.astype(int) - PHANTOM).mean() < 6
    with pytest.raises(UnreadableImageError, match="truncated or corrupt"):
        decode_image(data[: len(data) // 2])


def test_deflated_file_is_read() -> None:
    """As it would be without."""

    def edit(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    assert np.array_equal(decode_image(edited(edit)).pixels, PHANTOM)


def test_colour_object_becomes_luma_and_is_out_of_scope() -> None:
    """An RGB object is judged like a colour photograph in a PNG."""

    def edit(ds: Dataset) -> None:
        without_window(ds)
        ds.PhotometricInterpretation, ds.SamplesPerPixel = "RGB", 3
        ds.PlanarConfiguration, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 0, 8, 8, 7
        flat = np.zeros((*PHANTOM.shape, 3), np.uint8)
        flat[..., 0] = PHANTOM
        ds.PixelData = flat.tobytes()

    image = decode_image(edited(edit))
    assert np.abs(image.pixels - PHANTOM * 0.299).max() <= 1
    assert not assess_scope(image).in_scope


READABLE_CHEST = {
    "1.3.6.1.4.1.11129.5.5.110503645592756492463169821050252582267888.dcm": (182, 49),
    "Monochrome1-Jpeg.dcm": (90, 74),
    "RG1_JLSN.dcm": (192, 39),
    "XRJPEGProcess1.dcm": (114, 42),
    "gdcm-CR-MONO1-10-chest.dcm": (139, 40),
    "ms_cr_chest_4248x3480_j2k.dcm": (77, 59),
}


@pytest.mark.parametrize("name", READABLE_CHEST)
def test_real_radiographs_are_shown_as_a_viewer_shows_them(name: str, shared_data: Path) -> None:
    """Mean and contrast are those of pictures that were looked at and found right."""
    mean, deviation = READABLE_CHEST[name]
    pixels = decode_image((shared_data / "dicom" / "chest" / name).read_bytes()).pixels
    assert abs(pixels.mean() - mean) < 2
    assert abs(pixels.std() - deviation) < 2


def test_every_shared_dicom_file_is_decoded_or_refused_clearly(shared_data: Path) -> None:
    """No file, however odd, raises anything but an error of ours."""
    files = sorted((shared_data / "dicom").rglob("*.dcm"))
    assert len(files) > 30
    for path in files:
        try:
            assert decode_image(path.read_bytes()).pixels.dtype == np.uint8
        except CxrError as error:
            assert str(error).endswith((".", ")."))  # noqa: PT017
