"""Attribute values that may be written: strict, where what was received may be anything.

They are read from the bytes that came. What pydicom makes of them may be another value: the first
of several, or one with a replacement character.
"""

from __future__ import annotations

import re
from datetime import datetime

from pydicom.config import RAISE
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from service.dicom.character_sets import CharacterSets

UID = re.compile(r"[0-9]+(\.[0-9]+)+")
MAX_UID_LENGTH = 64
TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
AGE = re.compile(r"\d{3}[DWMY]")
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ufffd]")
"""Control characters, what divides values, and what stands for lost characters."""

SEXES = ("M", "F", "O")
ORIENTATION = re.compile(r"[LRAPHF]{1,3}")
SEPARATOR = "\\"
PADDING = b" \0"
DELIMITERS = {"PN": b"\\^="}  # PS3.5, 6.1.2.5.3; others have the separator of values only
STRINGS = frozenset(
    {None, "UN", "AE", "AS", "CS", "DA", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC"}
    | {"UI", "UR", "UT"}
)
"""Value representations that are text, or do not tell."""


def raw_of(ds: Dataset, keyword: str) -> bytes | None:
    """Give a value as it came, without its padding: empty if absent, None if it is no text."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    if tag not in ds:
        return b""
    element = ds.get_item(tag)
    value = element.value
    if value is None:
        return b""
    if isinstance(value, str):  # of a data set that was made, not read
        return value.encode()
    if not isinstance(value, bytes) or element.VR not in STRINGS:
        return None
    return value.rstrip(PADDING)


def character_sets_of(ds: Dataset) -> CharacterSets:
    """Give the character sets a data set declares (0008,0005)."""
    declared = ds.get("SpecificCharacterSet") or ""
    terms = [declared] if isinstance(declared, str) else [str(term) for term in declared]
    return CharacterSets(terms)


def text_of(ds: Dataset, keyword: str, vr: str, sets: CharacterSets) -> str:
    """Give a text that its value representation allows, else ``""``.

    Whatever is too long, of several values, not to be decoded or with control characters is left
    out, not mended: a mended identifier is another one.

    Args:
        ds: A data set as it was read.
        keyword: Of the attribute.
        vr: Value representation: ``LO``, ``SH``, ``PN`` or ``CS``.
        sets: What it is written in.
    """
    raw = raw_of(ds, keyword)
    if not raw:
        return ""
    try:
        text = sets.decode(raw, DELIMITERS.get(vr, b"\\")).strip(" ")
        validate_value(vr, text, RAISE)
    except Exception:  # several kinds, and their texts quote the value
        return ""
    return "" if UNFIT.search(text) else text


def is_given(ds: Dataset, keyword: str) -> bool:
    """Whether an attribute has a value, whatever it is."""
    raw = raw_of(ds, keyword)
    return raw is None or raw.strip(PADDING) != b""


def _code_of(ds: Dataset, keyword: str) -> str:
    """Give what is written in the default repertoire, else ``""``."""
    try:
        return (raw_of(ds, keyword) or b"").decode("ascii").strip(" ")
    except UnicodeDecodeError:
        return ""


def uid_of(ds: Dataset, keyword: str) -> str:
    """Give a UID as it stands if it can be one, else ``""``.

    Components with leading zeros are no valid UIDs but common, and a reference has to match.
    """
    value = _code_of(ds, keyword)
    return value if UID.fullmatch(value) and len(value) <= MAX_UID_LENGTH else ""


def date_of(ds: Dataset, keyword: str) -> str:
    """Give a date as YYYYMMDD, also one of the ACR-NEMA form YYYY.MM.DD, else ``""``."""
    value = _code_of(ds, keyword).replace(".", "")
    try:
        return f"{datetime.strptime(value, '%Y%m%d'):%Y%m%d}" if len(value) == 8 else ""
    except ValueError:
        return ""


def time_of(ds: Dataset, keyword: str) -> str:
    """Give a time as HHMMSS.FFFFFF or shorter, also one of the form HH:MM:SS, else ``""``."""
    value = _code_of(ds, keyword).replace(":", "")
    return value if TIME.fullmatch(value) else ""


def age_of(ds: Dataset) -> str:
    """Give PatientAge (0010,1010) if it has the form of one, else ``""``."""
    value = _code_of(ds, "PatientAge").upper()
    return value if AGE.fullmatch(value) else ""


def sex_of(ds: Dataset) -> str:
    """Give PatientSex (0010,0040) if it is one of the standard's, else ``""``."""
    value = _code_of(ds, "PatientSex").upper()
    return value if value in SEXES else ""


def orientation_of(ds: Dataset) -> list[str]:
    """Give PatientOrientation (0020,0020), row and column, if it has its form, else none."""
    parts = [part.strip(" ") for part in _code_of(ds, "PatientOrientation").split(SEPARATOR)]
    return parts if len(parts) == 2 and all(map(ORIENTATION.fullmatch, parts)) else []
