"""The patient's age when the image was taken, for comparison with the ages trained on."""

from __future__ import annotations

import re
from datetime import date, datetime

from pydicom.dataset import Dataset

AGE = re.compile(r"(\d{3})([DWMY])")
"""Value representation AS, PS3.5 table 6.2-1: three digits and a unit."""

YEARS_PER_UNIT = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
OLDEST_YEARS = 130


def age_years_of(ds: Dataset) -> float | None:
    """Give the age in years, None if it is absent or malformed.

    PatientAge (0010,1010) first, as the modality worked it out; else PatientBirthDate
    (0010,0030) against StudyDate (0008,0020).
    """
    stated = AGE.fullmatch(_text(ds, "PatientAge"))
    if stated:
        years = int(stated[1]) * YEARS_PER_UNIT[stated[2]]
        return years if years <= OLDEST_YEARS else None
    born, studied = _date(ds, "PatientBirthDate"), _date(ds, "StudyDate")
    if born is None or studied is None:
        return None
    years = (studied - born).days / 365.25
    return years if 0 <= years <= OLDEST_YEARS else None


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return "" if value is None else str(value).strip().upper()


def _date(ds: Dataset, keyword: str) -> date | None:
    try:
        return datetime.strptime(_text(ds, keyword), "%Y%m%d").date()
    except ValueError:
        return None
