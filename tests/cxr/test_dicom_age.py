"""The age a DICOM object states."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from cxr.dicom.header import age_years_of


@pytest.mark.parametrize(
    ("attributes", "years"),
    [
        ({"PatientAge": "045Y"}, 45.0),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "052W"}, 1.0),
        ({"PatientAge": "003D"}, 0.0),
        ({"PatientBirthDate": "20100601", "StudyDate": "20150601"}, 5.0),
        ({"PatientAge": "3 years", "PatientBirthDate": "20100601", "StudyDate": "20130601"}, 3.0),
        ({"PatientAge": ""}, None),
        ({"PatientAge": "999Y"}, None),
        ({"PatientAge": "45"}, None),
        ({"PatientBirthDate": "20100601"}, None),
        ({"PatientBirthDate": "unknown", "StudyDate": "20150601"}, None),
        ({"PatientBirthDate": "20160601", "StudyDate": "20150601"}, None),
        ({}, None),
    ],
)
def test_age_in_years(attributes: dict[str, str], years: float | None) -> None:
    """PatientAge first, else the dates; what is malformed is as good as absent."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    found = age_years_of(ds)
    assert found is None if years is None else found == pytest.approx(years, abs=0.01)
