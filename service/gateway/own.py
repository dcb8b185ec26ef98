"""Which objects are analysed, and which are our own results that come back.

A study is stable again whenever our results arrive in it: an archive's rule then sends it anew.
"""

from __future__ import annotations

from collections.abc import Callable

from pydicom import uid

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

OWN_MANUFACTURER = "cxr-inference"
"""Manufacturer of every object we make; also of those another gateway made."""


def is_analysed(header: ObjectHeader, was_made_here: Callable[[str], bool]) -> bool:
    """Whether an object is a radiograph to read, and none of our results.

    Args:
        header: What it says of itself.
        was_made_here: Whether a SOP Instance UID is one of a result.
    """
    if header.sop_class_uid not in ANALYSED_CLASSES:
        return False
    if header.manufacturer == OWN_MANUFACTURER:
        return False
    return not was_made_here(header.sop_instance_uid)
