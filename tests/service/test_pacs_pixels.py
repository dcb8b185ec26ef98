"""UIDs of results: other pixels are another image, whatever its UID says; another hop is none."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from service.dicom.fhir import build_fhir
from service.dicom.pixels import digest_pixels
from service.dicom.results import build_not_analysed, build_report
from service.dicom.source import read_source
from tests.cost import cost_of
from tests.hostile import EXPLICIT, SYNTAXES, deflate_bomb, dicom_file, fragment_bomb
from tests.service.make_results import MODEL, make_result, make_source

FRAME = bytes(range(256)) * 4
Change = Callable[[pydicom.FileDataset], None]


def changed(source: bytes, *changes: Change, syntax: str | None = None) -> bytes:
    """Change a source as a hop might."""
    ds = pydicom.dcmread(io.BytesIO(source))
    for change in changes:
        change(ds)
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    buffer = io.BytesIO()
    is_big = syntax == ExplicitVRBigEndian
    for _ in ds:  # pydicom writes in another byte order only what it has read
        continue
    pydicom.dcmwrite(
        buffer,
        ds,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=not is_big,
        force_encoding=True,
    )
    return buffer.getvalue()


def give(**attributes: object) -> Change:
    """Give attributes other values."""

    def change(ds: pydicom.FileDataset) -> None:
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)

    return change


def swap_bytes(ds: pydicom.FileDataset) -> None:
    """Turn the words of the pixels, as big endian has them."""
    words = bytearray(ds.PixelData)
    words[0::2], words[1::2] = words[1::2], words[0::2]
    ds["PixelData"] = DataElement(0x7FE00010, "OW", bytes(words))


def wide(ds: pydicom.FileDataset) -> None:
    """Have 16 bits a pixel, in words."""
    pixels = bytes(value for pixel in ds.PixelData for value in (pixel, pixel % 7))
    give(BitsAllocated=16, BitsStored=16, HighBit=15)(ds)
    ds["PixelData"] = DataElement(0x7FE00010, "OW", pixels)


def compress(pixels: bytes) -> Change:
    """Have a compressed frame."""

    def change(ds: pydicom.FileDataset) -> None:
        ds["PixelData"] = DataElement(0x7FE00010, "OB", pixels, is_undefined_length=True)

    return change


def in_meta(ds: pydicom.FileDataset) -> None:
    """Write another preamble and file meta group."""
    ds.preamble = b"II*\0" + bytes(124)
    ds.file_meta.ImplementationVersionName = "ANOTHER HOP"
    ds.file_meta.SourceApplicationEntityTitle = "ARCHIVE"


NATIVE = changed(make_source(), wide, syntax=ExplicitVRLittleEndian)
COMPRESSED = changed(make_source(), compress(encapsulate([FRAME])), syntax=JPEGBaseline8Bit)

HOPS: dict[str, tuple[bytes, bytes]] = {
    "file meta": (NATIVE, changed(NATIVE, in_meta)),
    "implicit": (NATIVE, changed(NATIVE, syntax=ImplicitVRLittleEndian)),
    "big endian": (NATIVE, changed(NATIVE, swap_bytes, syntax=ExplicitVRBigEndian)),
    "deflated": (NATIVE, changed(NATIVE, syntax=DeflatedExplicitVRLittleEndian)),
    "a corrected header": (NATIVE, changed(NATIVE, give(PatientID="other", StudyDate="20200101"))),
    "padding": (
        changed(make_source(), give(Rows=3, Columns=3, PixelData=bytes(9) + b"\0")),
        changed(make_source(), give(Rows=3, Columns=3, PixelData=bytes(9) + b"\xff")),
    ),
    "fragments": (
        COMPRESSED,
        changed(COMPRESSED, compress(encapsulate([FRAME], fragments_per_frame=4))),
    ),
    "no offset table": (
        COMPRESSED,
        changed(COMPRESSED, compress(encapsulate([FRAME], has_bot=False))),
    ),
    "an extended offset table": (
        COMPRESSED,
        changed(COMPRESSED, compress(encapsulate_extended([FRAME])[0])),
    ),
}
OTHERS: dict[str, tuple[bytes, bytes]] = {
    "a pixel": (NATIVE, changed(NATIVE, lambda ds: give(PixelData=b"\1" + ds.PixelData[1:])(ds))),
    "the last pixel": (
        NATIVE,
        changed(NATIVE, lambda ds: give(PixelData=ds.PixelData[:-1] + b"\xee")(ds)),
    ),
    "rows": (NATIVE, changed(NATIVE, give(Rows=48, Columns=192))),
    "the sense of grey": (NATIVE, changed(NATIVE, give(PhotometricInterpretation="MONOCHROME1"))),
    "the sign": (NATIVE, changed(NATIVE, give(PixelRepresentation=1))),
    "a byte of a frame": (
        COMPRESSED,
        changed(COMPRESSED, compress(encapsulate([FRAME[:-1] + b"\0"]))),
    ),
    "no pixels": (NATIVE, changed(NATIVE, lambda ds: ds.pop("PixelData"))),
    "cut off": (NATIVE, NATIVE[:-100]),
    "a cut frame": (COMPRESSED, COMPRESSED[:-100]),
}


def uids_of(source: bytes) -> set[str]:
    """Give every UID by which an archive or record tells results apart."""
    fhir = build_fhir([(read_source(source), make_result())] * 2, MODEL)
    uids = {entry["fullUrl"] for entry in fhir["entry"]}
    uids |= {entry["resource"]["identifier"][0]["value"] for entry in fhir["entry"]}
    for made in (
        build_report(source, make_result(), MODEL),
        build_not_analysed(source, "No.", MODEL, "PNEUMONIA"),
    ):
        ds = pydicom.dcmread(io.BytesIO(made))
        uids |= {str(ds.SOPInstanceUID), str(ds.SeriesInstanceUID)}
    return uids


@pytest.mark.parametrize("pair", HOPS.values(), ids=HOPS)
def test_another_hop_keeps_the_uids(pair: tuple[bytes, bytes]) -> None:
    """What it writes anew is not the image."""
    assert digest_pixels(pair[0]) == digest_pixels(pair[1])
    assert uids_of(pair[0]) == uids_of(pair[1])


@pytest.mark.parametrize("pair", OTHERS.values(), ids=OTHERS)
def test_other_pixels_have_other_uids(pair: tuple[bytes, bytes]) -> None:
    """Under one SOP Instance UID, too: an archive would keep the first of both results."""
    one, other = pair
    assert read_source(one).sop_instance_uid == read_source(other).sop_instance_uid
    assert digest_pixels(one) != digest_pixels(other)
    assert not uids_of(one) & uids_of(other)


@pytest.mark.parametrize("data", [b"", b"DICM", make_source()[:400]], ids=["none", "no", "cut"])
def test_whatever_has_no_pixels_has_a_digest(data: bytes) -> None:
    """Of the whole: that it cannot be read is told elsewhere."""
    assert len(digest_pixels(data)) == 64


def test_pixels_decide_nothing_of_devices_and_studies() -> None:
    """They stay what archives know them as."""
    one, other = (
        pydicom.dcmread(io.BytesIO(build_report(source, make_result(), MODEL)))
        for source in OTHERS["a pixel"]
    )
    assert one.StudyInstanceUID == other.StudyInstanceUID
    devices = {ds.ContributingEquipmentSequence[0].DeviceUID for ds in (one, other)}
    assert devices == {"2.25.309569062831310733136843585274506974672"}


def test_deflated_pixels_beyond_the_image_are_not_digested() -> None:
    """A file of half a megabyte may hold as many as it likes; they are never inflated."""
    bomb = deflate_bomb(200_000_000)
    cost = cost_of(lambda: digest_pixels(bomb), tries=1)
    assert cost.peak_bytes < 8 << 20
    sound = dicom_file(SYNTAXES["explicit"], pixels=EXPLICIT.element(0x7FE00010, "OW", bytes(4096)))
    assert digest_pixels(deflate_bomb(1_000_000)) == digest_pixels(sound)


def test_fragments_without_end_are_not_digested_one_by_one() -> None:
    """A frame of so many is refused, and counts as a whole."""
    data = fragment_bomb(100_000)
    assert digest_pixels(data) == hashlib.sha256(data).hexdigest()
