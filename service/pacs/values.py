"""Attribute values that may be written: strict, where what was received may be anything."""

from __future__ import annotations

import re
from datetime import datetime

from pydicom.config import RAISE
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

UID = re.compile(r"[0-9]+(\.[0-9]+)+")
MAX_UID_LENGTH = 64
TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
AGE = re.compile(r"\d{3}[DWMY]")
CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
SEXES = ("M", "F", "O")
ORIENTATION = re.compile(r"[LRAPHF]{1,3}")


def text_of(ds: Dataset, keyword: str, vr: str) -> str:
    """Give the first value as text that its value representation allows, else ``""``.

    What is too long is left out, not cut: a cut identifier is another one.

    Args:
        ds: Any dataset.
        keyword: Of the attribute.
        vr: Value representation: ``LO``, ``SH``, ``PN`` or ``CS``.
    """
    value = ds.get(keyword)
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    text = "" if value is None else CONTROL.sub(" ", str(value)).strip()
    try:
        validate_value(vr, text, RAISE)
    except Exception:  # several kinds, and their texts quote the value
        return ""
    return text


def uid_of(ds: Dataset, keyword: str) -> str:
    """Give a UID as it stands if it can be one, else ``""``.

    Components with leading zeros are no valid UIDs but common, and a reference has to match.
    """
    value = str(ds.get(keyword) or "").strip("\0 ")
    return value if UID.fullmatch(value) and len(value) <= MAX_UID_LENGTH else ""


def date_of(ds: Dataset, keyword: str) -> str:
    """Give a date as YYYYMMDD, also one of the ACR-NEMA form YYYY.MM.DD, else ``""``."""
    value = str(ds.get(keyword) or "").strip().replace(".", "")
    try:
        return f"{datetime.strptime(value, '%Y%m%d'):%Y%m%d}" if len(value) == 8 else ""
    except ValueError:
        return ""


def time_of(ds: Dataset, keyword: str) -> str:
    """Give a time as HHMMSS.FFFFFF or shorter, also one of the form HH:MM:SS, else ``""``."""
    value = str(ds.get(keyword) or "").strip().replace(":", "")
    return value if TIME.fullmatch(value) else ""


def age_of(ds: Dataset) -> str:
    """Give PatientAge (0010,1010) if it has the form of one, else ``""``."""
    value = str(ds.get("PatientAge") or "").strip().upper()
    return value if AGE.fullmatch(value) else ""


def sex_of(ds: Dataset) -> str:
    """Give PatientSex (0010,0040) if it is one of the standard's, else ``""``."""
    value = str(ds.get("PatientSex") or "").strip().upper()
    return value if value in SEXES else ""


def orientation_of(ds: Dataset) -> list[str]:
    """Give PatientOrientation (0020,0020), row and column, if it has its form, else none."""
    value = ds.get("PatientOrientation")
    parts = [str(part) for part in value] if isinstance(value, MultiValue) else []
    return parts if len(parts) == 2 and all(map(ORIENTATION.fullmatch, parts)) else []
