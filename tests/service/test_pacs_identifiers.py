"""Identifiers in results: the source's, or none. Never a part of one, nor one of two sources."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import convert_encodings, encode_string
from pydicom.datadict import dictionary_description

from service.dicom.fhir import build_fhir
from service.dicom.results import build_capture, build_not_analysed, build_report
from service.dicom.source import IDENTIFYING, NOT_TAKEN_OVER, SourceHeader, read_source
from tests.dicom_tools import verify_valid
from tests.service.make_results import CANARY, MODEL, make_result, make_source

TEXTS = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "PatientName")
OTHERS = ("ReferringPhysicianName", "StudyDescription")

Defect = tuple[bytes | None, bytes]
"""Specific Character Set and value, as they stand in the file."""

DEFECTS: dict[str, Defect] = {
    "two values": (None, b"123\\456 "),
    "an empty second value": (None, b"1234\\ "),
    "an empty first value": (None, b"\\456"),
    "a NUL inside": (None, b"12\x0034 "),
    "a tab": (None, b"12\t34 "),
    "a line end": (None, b"12\r\n34"),
    "a delete": (None, b"12\x7f34 "),
    "8 bits and no set": (None, b"M\xfc7 "),
    "8 bits and an empty set": (b"", b"M\xfc7 "),
    "8 bits and ASCII": (b"ISO_IR 6", b"M\xfc7 "),
    "8 bits and an unknown set": (b"NONSENSE", b"M\xfc7 "),
    "8 bits and one unknown set of two": (b"ISO 2022 IR 6\\ISO 2022 IR 999 ", b"M\xfc7 "),
    "8 bits after an escape to ASCII": (b"\\ISO 2022 IR 87 ", b"\x1b(BM\xfc7"),
    "Latin 1 as UTF-8": (b"ISO_IR 192", b"M\xfc7 "),
    "a cut sequence of UTF-8": (b"ISO_IR 192", b"M7\xc3 "),
    "an overlong sequence of UTF-8": (b"ISO_IR 192", b"M\xc0\xb17"),
    "a surrogate in UTF-8": (b"ISO_IR 192", b"M\xed\xa0\x80"),
    "a replacement character": (b"ISO_IR 192", "M\ufffd7".encode()),
    "a control character of Latin 1": (b"ISO_IR 100", b"M\x857 "),
    "undefined in Greek": (b"ISO_IR 126", b"M\xae7 "),
    "undefined in Hebrew": (b"ISO_IR 138", b"M\xa17 "),
    "a lone byte of GBK": (b"GBK ", b"M7\xd5 "),
    "a lone byte of GB18030": (b"GB18030 ", b"M7\x81 "),
    "Shift JIS": (b"ISO_IR 13 ", b"\x8e\x52"),
    "a yen sign": (b"ISO_IR 13 ", b"12\\34 "),
    "an escape and no extensions": (b"ISO_IR 100", b"\x1b-F\xe1\xe2 "),
    "an escape that is not declared": (b"\\ISO 2022 IR 87 ", b"\x1b$)C\xb1\xe8 "),
    "an escape nobody knows": (b"\\ISO 2022 IR 87 ", b"\x1b%GM7"),
    "a cut escape": (b"\\ISO 2022 IR 87 ", b"M7\x1b$"),
    "half a character of JIS": (b"\\ISO 2022 IR 87 ", b"\x1b$B;3E\x1b(B"),
    "too long": (None, b"1" * 66),
}


def make_raw(declared: bytes | None, keyword: str, value: bytes) -> bytes:
    """Make a source of which one value and the declared character set are bytes as they are.

    pydicom would encode them anew when it writes.
    """
    value += b" " * (len(value) % 2)
    stand_in = b"Q" * len(value)
    data = make_source(**{keyword: stand_in})
    assert data.count(stand_in) == 1
    data = data.replace(stand_in, value)
    if declared is None:
        return data
    declared += b" " * (len(declared) % 2)
    begin = 144 + int.from_bytes(data[140:144], "little")  # after the file meta group
    element = b"\x08\x00\x05\x00CS" + len(declared).to_bytes(2, "little") + declared
    return data[:begin] + element + data[begin:]


def objects_of(source: bytes) -> list[pydicom.FileDataset]:
    """Make all results of a source and read them."""
    overlay = np.zeros((512, 512, 3), np.uint8)
    options: dict[str, Any] = {"target": "PNEUMONIA", "method": "gradcam", "alpha": 0.4}
    made = [
        build_report(source, make_result(), MODEL),
        build_capture(source, make_result(), MODEL, overlay, **options),
        build_not_analysed(source, "No.", MODEL, "PNEUMONIA"),
    ]
    return [pydicom.dcmread(io.BytesIO(one)) for one in made]


def text(header: SourceHeader, keyword: str) -> str:
    """Give what results would have of an attribute."""
    return str(header.ds.get(keyword) or "")


@pytest.mark.parametrize("keyword", [*TEXTS, *OTHERS])
@pytest.mark.parametrize("name", DEFECTS)
def test_defective_value_is_left_out_and_nothing_else(keyword: str, name: str) -> None:
    """It is empty, told by its name, and the others are what they were."""
    header = read_source(make_raw(DEFECTS[name][0], keyword, DEFECTS[name][1]))
    empty = {keyword} | ({"PatientID"} if keyword == "IssuerOfPatientID" else set())
    expected = {one: "" if one in empty else CANARY[one] for one in (*TEXTS, *OTHERS)}
    assert {one: text(header, one) for one in expected} == expected
    assert set(header.left_out) == empty & set(IDENTIFYING)
    assert header.ds.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize("keyword", TEXTS)
@pytest.mark.parametrize("name", ["two values", "Latin 1 as UTF-8", "a NUL inside"])
def test_results_lack_it_and_say_so(keyword: str, name: str, tmp_path: Path) -> None:
    """Report, picture and report of a refusal: valid, without it, with a remark."""
    source = make_raw(DEFECTS[name][0], keyword, DEFECTS[name][1])
    for ds in objects_of(source):
        assert not ds.get(keyword)
        buffer = io.BytesIO()
        ds.save_as(buffer)
        verify_valid(buffer.getvalue(), tmp_path)
        told = buffer.getvalue().decode("utf-8", "replace")
        assert NOT_TAKEN_OVER in told
        assert dictionary_description(keyword) in told
        assert "123" not in str(ds.get("PatientID")) + str(ds.get("AccessionNumber"))
    fhir = str(build_fhir([(read_source(source), make_result())], MODEL))
    assert "456" not in fhir
    assert "\ufffd" not in fhir


def test_results_of_a_sound_source_say_nothing_of_it() -> None:
    """Nor do those of a source that has none of them: absent is not left out."""
    absent = dict.fromkeys(TEXTS)
    for source in (make_source(), make_source(**absent)):
        header = read_source(source)
        assert (header.left_out, header.remarks) == ((), ())
        assert all("ImageComments" not in ds for ds in objects_of(source))


UIDS: dict[str, bytes] = {
    "two values": b"1.2.3\\1.2.4 ",
    "letters": b"1.2.x ",
    "8 bits": b"1.2.\xb2 ",
    "other digits": "1.2.\u0663".encode(),
    "too long": b"1." + b"2" * 64,
    "a NUL inside": b"1.2\x003",
    "a line": b"1.2.3\n",
}


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", UIDS.values(), ids=UIDS)
def test_malformed_uid_is_replaced_as_a_whole(keyword: str, value: bytes) -> None:
    """By one that follows from the image's: no other study gets the results."""
    header = read_source(make_raw(None, keyword, value))
    assert header.left_out == (keyword,)
    assert str(header.ds[keyword].value).startswith("2.25.")


@pytest.mark.parametrize("vr", ["US", "OB", "SQ"])
def test_value_of_another_kind_is_no_identifier(vr: str) -> None:
    """A number for a Patient ID may have been more than fits."""
    ds = pydicom.dcmread(io.BytesIO(make_source()))
    value: Any = {"US": 12, "OB": b"12", "SQ": []}[vr]
    ds["PatientID"] = pydicom.DataElement(0x00100020, vr, value)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    header = read_source(buffer.getvalue())
    assert header.ds.PatientID == ""
    assert header.left_out == ("PatientID",) or vr == "SQ"


SOUND: dict[str, tuple[str, str]] = {
    "nothing declared": ("", "M-7"),
    "Latin 1": ("ISO_IR 100", "M\xfc7"),
    "misspelled": ("ISO-IR 100", "M\xfc7"),
    "Latin 2": ("ISO_IR 101", "\u0141\xf37"),
    "Cyrillic": ("ISO_IR 144", "\u041b\u044e7"),
    "Arabic": ("ISO_IR 127", "\u0642\u06287"),
    "Greek": ("ISO_IR 126", "\u0394\u03b97"),
    "Hebrew": ("ISO_IR 138", "\u05e9\u05e87"),
    "Turkish": ("ISO_IR 148", "\xc7a\u011f7"),
    "Thai": ("ISO_IR 166", "\u0e19\u0e327"),
    "Katakana": ("ISO_IR 13", "\uff94\uff8f"),
    "Unicode": ("ISO_IR 192", "\u738b\u5c0f7"),
    "GB18030": ("GB18030", "\u738b\u5c0f7"),
    "GBK with a backslash in a character": ("GBK", "\u8aa0\u6674"),
    "Kanji": ("\\ISO 2022 IR 87", "\u5c71\u7530"),
    "rare Kanji": ("\\ISO 2022 IR 159", "\u4e02\u4e04"),
    "Korean": ("\\ISO 2022 IR 149", "\uae40\ud76c"),
    "Chinese by extension": ("\\ISO 2022 IR 58", "\u738b\u5c0f"),
    "Greek by extension": ("ISO 2022 IR 100\\ISO 2022 IR 126", "\u0394\u03b9"),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_value_is_kept_in_every_set(name: str) -> None:
    """Written in Unicode, and read back by others as it was."""
    declared, value = SOUND[name]
    encodings = convert_encodings(declared.split("\\"))
    raw = encode_string(value, encodings)
    if declared.endswith("58"):  # pydicom leaves the escape out
        raw = b"\x1b$)A" + value.encode("gb2312")
    source = make_raw(declared.encode(), "PatientID", raw)
    assert read_source(source).left_out == ()
    for ds in objects_of(source):
        assert (ds.SpecificCharacterSet, ds.PatientID) == ("ISO_IR 192", value)


SETS = {"": "ascii", "ISO_IR 100": "latin_1", "ISO_IR 192": "utf-8", "GB18030": "gb18030"}


@given(declared=st.sampled_from(list(SETS)), raw=st.binary(min_size=4, max_size=12))
def test_what_is_kept_is_what_came(declared: str, raw: bytes) -> None:
    """To the byte, so that no two values become one; but blanks at its ends do not count."""
    header = read_source(make_raw(declared.encode(), "PatientID", raw))
    if header.ds.PatientID:
        kept = header.ds.PatientID.encode(SETS[declared])
        assert kept == raw.rstrip(b" \0").strip(b" ")


@pytest.mark.shared_data
def test_patients_of_the_cases_stay_apart(shared_data: Path) -> None:
    """Two patients whose numbers no declared set can tell, and one with two numbers."""
    folder = shared_data.parent / "cases" / "identifiers"
    files = sorted(folder.glob("*.dcm"))
    if not files:
        pytest.skip("the cases are absent")
    for file in files:
        header = read_source(file.read_bytes())
        assert (header.ds.PatientID, header.left_out) == ("", ("PatientID",))
