"""DICOM objects for the gateway's tests, made in code."""

from __future__ import annotations

import io
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

CANARIES = ("Canary^Jane", "CANARY4711", "CanaryHospital", "19660606")
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


def make_object(
    study: str = "1.2.3",
    *,
    instance: str | None = None,
    sop_class: str = ComputedRadiographyImageStorage,
    syntax: str = ExplicitVRLittleEndian,
    side: int = 16,
    **attributes: Any,
) -> bytes:
    """Make a Part 10 file with canary values for the patient."""
    ds = Dataset()
    ds.SOPClassUID = UID(sop_class)
    ds.SOPInstanceUID = UID(instance or generate_uid())
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UID(study), UID(f"{study}.1")
    ds.PatientName, ds.PatientID = CANARIES[0], CANARIES[1]
    ds.InstitutionName, ds.PatientBirthDate = CANARIES[2], CANARIES[3]
    ds.Modality = "CR"
    ds.Rows = ds.Columns = side
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = bytes(side * side * 2)
    for name, value in attributes.items():
        setattr(ds, name, value)
    return encode(ds, syntax)


def encode(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Write a data set as a Part 10 file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    file = io.BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()


def make_results(instance: str, study: str = "1.2.3") -> list[bytes]:
    """Make an SR and an SC, with UIDs that follow from the source's."""
    made = []
    for suffix, sop_class in ((1, COMPREHENSIVE_3D_SR), (2, SecondaryCaptureImageStorage)):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class), UID(f"{instance[:60]}.{suffix}")
        ds.StudyInstanceUID, ds.SeriesInstanceUID = UID(study), UID(f"{study}.9")
        ds.PatientID, ds.Modality = CANARIES[1], "SR" if suffix == 1 else "OT"
        made.append(encode(ds))
    return made
