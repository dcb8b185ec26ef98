"""Which objects are analysed, and which are our own results that come back.

A study is stable again whenever our results arrive in it: an archive's rule then sends it anew.
"""

from __future__ import annotations

from pydicom import uid

from service.dicom.equipment import MANUFACTURER
from service.gateway.header import ObjectHeader

ANALYSED_CLASSES = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.SecondaryCaptureImageStorage,  # real radiographs carry it, with Modality CR
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
"""Others are taken, so that whole studies can be sent, and not kept."""


def is_analysed(header: ObjectHeader) -> bool:
    """Whether an object is a radiograph to read, and by what it says none of our results.

    Every object we make names us as its manufacturer, also those of another gateway.
    """
    return header.sop_class_uid in ANALYSED_CLASSES and header.manufacturer != MANUFACTURER
