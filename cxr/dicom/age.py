"""The patient's age in a DICOM header."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import NamedTuple

from pydicom.dataset import Dataset

from cxr.dicom.values import text_of

AGE = re.compile(r"0*([0-9]{1,3}) *([DWMY])")
"""Value representation AS (PS3.5 table 6.2-1), with leading zeros left out, as some devices do."""

YEARS_PER_UNIT = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
OLDEST_YEARS = 130

WHEN = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
"""The image was made on the first of these that can be read."""

SAME_YEARS = 1.0
"""How far a stated age may be from that of the dates: it may be rounded, or of another day."""

NOT_READ = (
    "The DICOM header gives an age or a birth date that cannot be read, so the patient's age is "
    "taken to be unknown."
)
CONTRADICTED = (
    "The DICOM header gives an age that its dates contradict, so the model decides only if it was "
    "validated on patients of both."
)


class StatedAge(NamedTuple):
    """What a header says of the patient's age.

    Attributes:
        years: None, one, or two that contradict each other.
        warnings: Sentences without values.
    """

    years: tuple[float, ...]
    warnings: tuple[str, ...] = ()


def age_of(ds: Dataset) -> StatedAge:
    """Read PatientAge (0010,1010), and PatientBirthDate (0010,0030) against the image's date."""
    stated, by_dates = _stated(ds), _by_dates(ds)
    known = tuple(years for years in (stated, by_dates) if years is not None)
    if not known:
        is_given = bool(text_of(ds, "PatientAge") or text_of(ds, "PatientBirthDate"))
        return StatedAge((), (NOT_READ,) if is_given else ())
    if max(known) - min(known) > SAME_YEARS:
        return StatedAge(known, (CONTRADICTED,))
    return StatedAge(known[:1])


def _stated(ds: Dataset) -> float | None:
    found = AGE.fullmatch(text_of(ds, "PatientAge").upper())
    return None if found is None else _plausible(int(found[1]) * YEARS_PER_UNIT[found[2]])


def _by_dates(ds: Dataset) -> float | None:
    born = _date(ds, "PatientBirthDate")
    made = next((day for keyword in WHEN if (day := _date(ds, keyword)) is not None), None)
    if born is None or made is None:
        return None
    # Not days by 365.25: that is wrong on birthdays, which are what counts.
    had_birthday = (made.month, made.day) >= (born.month, born.day)
    whole = made.year - born.year - (not had_birthday)
    months = (made.month - born.month - (made.day < born.day)) % 12
    return _plausible(whole + months / 12)


def _plausible(years: float) -> float | None:
    return years if 0 <= years <= OLDEST_YEARS else None


def _date(ds: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(text_of(ds, keyword).replace(".", ""), "%Y%m%d").date()
    except ValueError:
        return None
