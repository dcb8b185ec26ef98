"""How results name what made them."""

from __future__ import annotations

from pydicom.dataset import Dataset

from cxr import __version__
from service.answers import ModelRef
from service.dicom.concepts import PROCESSING_EQUIPMENT, Concept
from service.dicom.uids import derive_uid

MANUFACTURER = "cxr-inference"
NOT_A_DEVICE = "Research use only. Not a medical device."
SOFTWARE_VERSION = f"cxr-inference {__version__}"


def device_uid(model: ModelRef) -> str:
    """Give the device UID of a model: the same for all it makes."""
    return derive_uid("device", model.sha256)


def model_title(model: ModelRef) -> str:
    """Name the model with its version."""
    return f"{model.name} {model.version}"


def equipment_item(model: ModelRef) -> Dataset:
    """Give the item of the Contributing Equipment Sequence (PS3.3, C.12.1.1.5)."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = model.name
    item.SoftwareVersions = [model.version, SOFTWARE_VERSION]
    item.DeviceUID = device_uid(model)
    item.ContributionDescription = NOT_A_DEVICE
    return item


def code_item(concept: Concept) -> Dataset:
    """Give the item of a code sequence (PS3.3, 8.8)."""
    item = Dataset()
    item.CodeValue = concept.value
    item.CodingSchemeDesignator = concept.scheme_designator
    item.CodeMeaning = concept.meaning
    return item
