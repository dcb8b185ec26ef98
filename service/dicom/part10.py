"""DICOM Part 10 files out of datasets, the same bytes for the same dataset."""

from __future__ import annotations

import io

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from service.dicom.uids import derive_uid

IMPLEMENTATION_CLASS_UID = UID(derive_uid("device", "implementation"))
IMPLEMENTATION_VERSION = "CXR_INFERENCE"


def encode_part10(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """Encode a dataset as a Part 10 file (PS3.10, 7).

    Args:
        ds: With SOP class and instance UID.
        transfer_syntax_uid: Of the dataset and its pixels.
    """
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    ds.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
