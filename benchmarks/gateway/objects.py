"""Radiographs as a modality sends them: DICOM, uncompressed, 2 MB each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

SIDE = 1000  # of 16 bits: 2 MB
BITS = 12
OBJECTS_OF_A_STUDY = 2  # what a chest examination has


def make_objects(pictures: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Write objects, each of them new to every archive.

    Args:
        pictures: JPEG or PNG files, used in turn.
        folder: Made; one file per object.
        count: How many.

    Returns:
        Their paths in the order they are sent.
    """
    folder.mkdir(parents=True)
    paths = []
    study = ""
    for number in range(count):
        if number % OBJECTS_OF_A_STUDY == 0:
            study = generate_uid()
        with Image.open(pictures[number % len(pictures)]) as picture:
            grey = np.asarray(picture.convert("L").resize((SIDE, SIDE)))
        paths.append(folder / f"{number:04d}.dcm")
        _object(grey, study).save_as(paths[-1], enforce_file_format=True)
    return paths


def _object(grey: np.ndarray, study: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UID(study), UID(f"{study}.1")
    ds.PatientName = ds.PatientID = "BENCHMARK"
    ds.PatientBirthDate = ds.PatientSex = ds.StudyID = ds.AccessionNumber = ""
    ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "20260101", "120000", ""
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.Rows, ds.Columns = grey.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, BITS, BITS - 1
    ds.PixelRepresentation = 0
    ds.PixelData = (grey.astype("<u2") << (BITS - 8)).tobytes()
    return ds
