"""A canary in every attribute of a DICOM object that its picture does not need.

Not a list of names but the whole of pydicom's dictionary of the standard without those few, so it
holds whatever PS3.15 table E.1-1 has of texts, dates, times, numbers and UIDs, and what it forgot.
Left out are values of 16 bits and bulk data other than bytes: too short or too long to be told.
"""

from __future__ import annotations

import io
import re
from datetime import date, timedelta
from typing import Any

import pydicom
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

PICTURE = frozenset({
    "SOPClassUID", "SpecificCharacterSet", "Modality", "BodyPartExamined", "ViewPosition",
    "PhotometricInterpretation", "NumberOfFrames", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "VOILUTSequence", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "PixelData", "FloatPixelData", "DoubleFloatPixelData",
    "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID",
    "FileMetaInformationGroupLength", "FileMetaInformationVersion",
})  # fmt: skip
"""What the pixels are read, judged and filed by."""

COMMAND, META, PRIVATE = 0x0000, 0x0002, 0x0011
OVERLAY = {0x60000022: "LO", 0x60001500: "LO"}  # of the repeating groups, and none of the pixels
FIRST_DAY = date(1601, 1, 1)  # nobody's who lives, and no day of a test

TEXTS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
NUMBERS = frozenset({"DS", "FD", "IS", "SL", "SV", "UL", "UV"})
BYTES = frozenset({"OB", "UN"})

TOKEN = re.compile(
    r"QZ[0-9A-F]{8}|(?<![0-9A-Za-z+/.])(?:1\.2\.826\.0\.1\.4711\.\d+|16\d\d-\d\d-\d\d"
    r"|16\d{6}0314\d\d\.\d{6}|03:?14:?\d\d\.\d{6}"
    r"|(?:16\d{6}|17\d{7})(?!-?[0-9A-F]{4})"  # which a random id could begin with
    r"|(?:9\d{6}|1\d\dY)(?![0-9A-Za-z+/]))",
    re.IGNORECASE,
)
"""The form of every canary, so that a text is searched for all of them at once."""


def canary_value(vr: str, tag: int, number: int) -> str | int | float | bytes | None:
    """Give an attribute's canary: valid for its value representation, no other attribute's."""
    day = f"{FIRST_DAY + timedelta(days=number):%Y%m%d}"
    time = f"0314{number % 60:02d}.{number:06d}"
    if vr in TEXTS:
        return f"QZ{tag:08X}"
    if vr in BYTES:
        return f"QZ{tag:08X}".encode()
    if vr in NUMBERS:
        return int(f"17{number:04d}471")
    of_others: dict[str, str | float] = {
        "UI": f"1.2.826.0.1.4711.{number}",
        "DA": day,
        "TM": time,
        "DT": day + time,
        "AS": f"{100 + number % 100}Y",
        "FL": float(f"9{number:04d}47"),  # as many digits as 32 bits keep
    }
    return of_others.get(vr)


def _plan() -> list[tuple[int, str, str, int]]:
    """Give tag, VR, name and number of every attribute that gets a canary."""
    known = [
        (tag, vr, keyword or f"{tag:08X}")
        for tag, (vr, _, _, _, keyword) in sorted(DicomDictionary.items())
        if tag >> 16 != COMMAND and keyword not in PICTURE
    ]
    known += [(tag, vr, f"{tag:08X}") for tag, vr in OVERLAY.items()]
    private = [(PRIVATE << 16) + 0x1000 + i for i in range(4)]
    known += [
        (tag, vr, "private") for tag, vr in zip(private, ("LO", "PN", "DA", "UN"), strict=True)
    ]
    return [
        (tag, vr, name, number)
        for number, (tag, vr, name) in enumerate(known, 1)
        if vr == "SQ" or canary_value(vr, tag, number) is not None
    ]


PLAN = _plan()


NESTED = {0x0040A160: "UT", 0x0040A121: "DA", 0x0040A124: "UI", 0x00400440: "DS"}
"""What the one item of each sequence has, with the sequence's canaries."""


def _item(tag: int, number: int) -> Dataset:
    ds = Dataset()
    for inner, vr in NESTED.items():
        ds.add_new(inner, vr, canary_value(vr, tag, number))
    return ds


def _canaries() -> dict[str, str]:
    """Give every canary, as it may be written, with the name of its attribute."""
    found: dict[str, str] = {}
    for tag, vr, name, number in PLAN:
        for one in NESTED.values() if vr == "SQ" else (vr,):
            for text in _as_text(canary_value(one, tag, number), one):
                assert TOKEN.fullmatch(text), text
                assert text not in found, text
                found[text] = name
    return found


def _as_text(value: str | int | float | bytes | None, vr: str) -> list[str]:
    """Give what a canary may be written as, in DICOM and elsewhere."""
    text = value.decode() if isinstance(value, bytes) else str(value).removesuffix(".0")
    if vr == "DA":
        return [text, f"{text[:4]}-{text[4:6]}-{text[6:]}"]
    return [text, f"{text[:2]}:{text[2:4]}:{text[4:]}"] if vr == "TM" else [text]


CANARIES = _canaries()


def plant(ds: Dataset) -> None:
    """Put every canary into a dataset and its file meta information, but where its picture is."""
    meta: Any = ds.file_meta
    ds.private_block(PRIVATE, "QZ00110010", create=True)
    for tag, vr, _, number in PLAN:
        value: Any = canary_value(vr, tag, number)
        if vr == "SQ":
            value = Sequence([_item(tag, number)])
        (meta if tag >> 16 == META else ds)[tag] = DataElement(tag, vr, value)
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID


def planted(data: bytes) -> bytes:
    """Give a Part 10 file with every canary in it."""
    ds = pydicom.dcmread(io.BytesIO(data))
    assert isinstance(ds.file_meta, FileMetaDataset)
    plant(ds)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def found_in(told: str | bytes) -> set[str]:
    """Give the names of the attributes whose canaries something tells."""
    text = told.decode("latin-1") if isinstance(told, bytes) else told
    return {CANARIES[token] for token in map(str.upper, TOKEN.findall(text)) if token in CANARIES}
