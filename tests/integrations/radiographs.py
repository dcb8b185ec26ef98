"""Radiographs to send through integrations, and what must have become of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from pydicom import dcmread

from export.phantom import draw_phantom, encode_dicom
from tests.dicom_tools import verify_valid
from tests.gateway.objects import COMPREHENSIVE_3D_SR, encode
from tests.gateway.orthanc import Orthanc
from tests.service.make_results import CANARY

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STUDY = CANARY["StudyInstanceUID"]
PATIENT = [value for name, value in CANARY.items() if not name.endswith(("UID", "Sex"))]
"""What no log may hold; one letter would be found in any."""


def write_radiograph(path: Path, **attributes: Any) -> Path:
    """Write a drawn chest radiograph with canary values for the patient."""
    ds = dcmread(io.BytesIO(encode_dicom(draw_phantom(2, 1.0))))
    for name, value in (CANARY | attributes).items():
        setattr(ds, name, value)
    path.write_bytes(encode(ds))
    return path


def verify_results(orthanc: Orthanc, folder: Path) -> None:
    """Find one report and one capture in the study by QIDO-RS, fetch and validate both."""
    assert len(orthanc.find(STUDY)) == 3
    for sop_class in (COMPREHENSIVE_3D_SR, SECONDARY_CAPTURE):
        [found] = orthanc.find(STUDY, SOPClassUID=sop_class)
        series, instance = (found[tag]["Value"][0] for tag in ("0020000E", "00080018"))
        data = orthanc.fetch(STUDY, series, instance)
        ds = dcmread(io.BytesIO(data), stop_before_pixels=True)
        assert (ds.SOPClassUID, ds.StudyInstanceUID) == (sop_class, STUDY)
        assert ds.PatientID == CANARY["PatientID"]
        verify_valid(data, folder)
