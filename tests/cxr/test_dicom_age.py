"""The age a DICOM object states."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from cxr.dicom.age import CONTRADICTED, NOT_READ, age_of

BORN = "PatientBirthDate"


@pytest.mark.parametrize(
    ("attributes", "years", "warning"),
    [
        ({"PatientAge": "045Y"}, [45.0], None),
        ({"PatientAge": "018M"}, [1.5], None),
        ({"PatientAge": "052W"}, [1.0], None),
        ({"PatientAge": "003D"}, [0.0], None),
        ({"PatientAge": "000Y"}, [0.0], None),
        ({"PatientAge": "3Y"}, [3.0], None),
        ({"PatientAge": "45y"}, [45.0], None),
        ({"PatientAge": "0045Y"}, [45.0], None),
        ({"PatientAge": "045 Y"}, [45.0], None),
        ({BORN: "20100601", "StudyDate": "20150601"}, [5.0], None),
        ({BORN: "2010.06.01", "StudyDate": "20150601"}, [5.0], None),
        ({BORN: "20100601", "SeriesDate": "20150601"}, [5.0], None),
        ({BORN: "20100601", "StudyDate": "?", "ContentDate": "20150601"}, [5.0], None),
        ({BORN: "20190101", "StudyDate": "20200101"}, [1.0], None),
        ({BORN: "20190101", "StudyDate": "20191231"}, [11 / 12], None),
        ({BORN: "20130301", "StudyDate": "20190301"}, [6.0], None),
        ({BORN: "20130301", "StudyDate": "20190228"}, [5 + 11 / 12], None),
        ({BORN: "20120229", "StudyDate": "20180228"}, [5 + 11 / 12], None),
        ({BORN: "20120229", "StudyDate": "20180301"}, [6.0], None),
        ({"PatientAge": "3 years", BORN: "20100601", "StudyDate": "20130601"}, [3.0], None),
        ({"PatientAge": "999Y", BORN: "20100601", "StudyDate": "20190601"}, [9.0], None),
        ({"PatientAge": "005Y", BORN: "20100601", "StudyDate": "20160501"}, [5.0], None),
        (
            {"PatientAge": "003Y", BORN: "19700601", "StudyDate": "20150601"},
            [3.0, 45.0],
            CONTRADICTED,
        ),
        ({"PatientAge": ""}, [], None),
        ({"PatientAge": "999Y"}, [], NOT_READ),
        ({"PatientAge": "45"}, [], NOT_READ),
        ({"PatientAge": "-45Y"}, [], NOT_READ),
        ({"PatientAge": "045Y\\003Y"}, [], NOT_READ),
        ({BORN: "20100601"}, [], NOT_READ),
        ({BORN: "unknown", "StudyDate": "20150601"}, [], NOT_READ),
        ({BORN: "20160601", "StudyDate": "20150601"}, [], NOT_READ),
        ({"StudyDate": "20150601"}, [], None),
        ({}, [], None),
    ],
)
def test_age_in_years(attributes: dict[str, str], years: list[float], warning: str | None) -> None:
    """PatientAge and the dates; what is given and cannot be read is told, without a value."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    for received in (ds, sent(ds)):
        found = age_of(received)
        assert found.years == pytest.approx(years, abs=0.01)
        assert found.warnings == (() if warning is None else (warning,))


def sent(ds: Dataset) -> Dataset:
    """Give it as it arrives: implicit value representations, nothing read yet."""
    buffer = io.BytesIO()
    ds.SpecificCharacterSet = "ISO_IR 192"
    pydicom.dcmwrite(buffer, ds, implicit_vr=True, little_endian=True)
    buffer.seek(0)
    received = pydicom.dcmread(buffer, force=True)
    received.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return received
