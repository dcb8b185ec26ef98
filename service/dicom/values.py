"""Validate received values before they are written.

Reads raw bytes: pydicom may change values or keep only the first.
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
"""Control characters, the separator of values, and the replacement character."""

SEXES = ("M", "F", "O")
ORIENTATION = re.compile(r"[LRAPHF]{1,3}")
SEPARATOR = "\\"
PADDING = b" \0"
DELIMITERS = {"PN": b"\\^="}  # PS3.5, 6.1.2.5.3; others have the separator of values only
STRINGS = frozenset(
    {None, "UN", "AE", "AS", "CS", "DA", "DS", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC"}
    | {"UI", "UR", "UT"}
)
"""Value representations of text, and unknown ones."""


def raw_of(ds: Dataset, keyword: str) -> bytes | None:
    """Return an unpadded value; empty if absent, None if not text."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    if tag not in ds:
        return b""
    element = ds.get_item(tag)
    value = element.value
    if value is None:
        return b""
    if isinstance(value, str):  # of a data set built in memory
        return value.encode()
    if not isinstance(value, bytes) or element.VR not in STRINGS:
        return None
    return value.rstrip(PADDING)


def character_sets_of(ds: Dataset) -> CharacterSets:
    """Return the declared character sets."""
    declared = ds.get("SpecificCharacterSet") or ""
    terms = [declared] if isinstance(declared, str) else [str(term) for term in declared]
    return CharacterSets(terms)


def text_of(ds: Dataset, keyword: str, vr: str, sets: CharacterSets) -> str:
    """Return a valid text, else ``""``: a repaired identifier is another one."""
    raw = raw_of(ds, keyword)
    if not raw:
        return ""
    try:
        text = sets.decode(raw, DELIMITERS.get(vr, b"\\")).strip(" ")
        validate_value(vr, text, RAISE)
    except Exception:  # of several types, with messages that quote the value
        return ""
    return "" if UNFIT.search(text) else text


def is_given(ds: Dataset, keyword: str) -> bool:
    """Whether an attribute has a value."""
    raw = raw_of(ds, keyword)
    return raw is None or raw.strip(PADDING) != b""


def _code_of(ds: Dataset, keyword: str) -> str:
    try:
        return (raw_of(ds, keyword) or b"").decode("ascii").strip(" ")
    except UnicodeDecodeError:
        return ""


def uid_of(ds: Dataset, keyword: str) -> str:
    """Return a UID, else ``""``. Leading zeros are common; references must match."""
    value = _code_of(ds, keyword)
    return value if UID.fullmatch(value) and len(value) <= MAX_UID_LENGTH else ""


def date_of(ds: Dataset, keyword: str) -> str:
    """Return a date (also YYYY.MM.DD) as YYYYMMDD, else ``""``."""
    value = _code_of(ds, keyword).replace(".", "")
    try:
        return f"{datetime.strptime(value, '%Y%m%d'):%Y%m%d}" if len(value) == 8 else ""
    except ValueError:
        return ""


def time_of(ds: Dataset, keyword: str) -> str:
    """Return a time (also HH:MM:SS) as HHMMSS.FFFFFF or shorter, else ``""``."""
    value = _code_of(ds, keyword).replace(":", "")
    return value if TIME.fullmatch(value) else ""


def age_of(ds: Dataset) -> str:
    """Return a valid PatientAge, else ``""``."""
    value = _code_of(ds, "PatientAge").upper()
    return value if AGE.fullmatch(value) else ""


def sex_of(ds: Dataset) -> str:
    """Return a valid PatientSex, else ``""``."""
    value = _code_of(ds, "PatientSex").upper()
    return value if value in SEXES else ""


def orientation_of(ds: Dataset) -> list[str]:
    """Return row and column of a valid PatientOrientation, else nothing."""
    parts = [part.strip(" ") for part in _code_of(ds, "PatientOrientation").split(SEPARATOR)]
    return parts if len(parts) == 2 and all(map(ORIENTATION.fullmatch, parts)) else []
