"""Identification of an object's model and software."""

from __future__ import annotations

import io

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from cxr import __version__
from service.answers import ModelRef
from service.dicom.concepts import PROCESSING_EQUIPMENT, code_item
from service.dicom.uids import derive_uid

MANUFACTURER = "cxr-inference"
NOT_A_DEVICE = "Research use only. Not a medical device."
SOFTWARE_VERSION = f"cxr-inference {__version__}"
IMPLEMENTATION_CLASS_UID = UID(derive_uid("device", "implementation"))
IMPLEMENTATION_VERSION = "CXR_INFERENCE"


def device_uid(model: ModelRef) -> str:
    """Return a model's permanent device UID."""
    return derive_uid("device", model.sha256)


def model_title(model: ModelRef) -> str:
    """Return a model's name and version."""
    return f"{model.name} {model.version}"


def equipment_item(model: ModelRef) -> Dataset:
    """Build the Contributing Equipment Sequence item (PS3.3, C.12.1.1.5)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = model.name
    item.SoftwareVersions = [model.version, SOFTWARE_VERSION]
    item.DeviceUID = device_uid(model)
    item.ContributionDescription = NOT_A_DEVICE
    return item


def encode_part10(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """Encode a dataset, adding file meta, as a Part 10 file (PS3.10, 7)."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    ds.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    ds.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
