"""Secondary Captures of overlays (PS3.3, A.8.1)."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

from cxr.explain.overlay import MAX_PICTURE_PX
from service.answers import ModelRef
from service.dicom import concepts, equipment
from service.dicom.equipment import encode_part10
from service.dicom.source import SourceHeader

SERIES_NUMBER = 9002
SERIES_DESCRIPTION = "AI heatmaps, research use only"
UNPAIRED = "CHEST"
JPEG_QUALITY = 90  # text stays sharp; a tenth of a megabyte


@dataclass(frozen=True)
class Capture:
    """Content of a Secondary Capture.

    Attributes:
        overlay: Shape (H, W, 3), uint8.
        method: Heatmap method; None without a heatmap.
        description: At most 1024 characters.
    """

    sop_instance_uid: str
    series_instance_uid: str
    model: ModelRef
    overlay: NDArray[np.uint8]
    method: str | None
    description: str


def render_capture(source: SourceHeader, capture: Capture) -> bytes:
    """Render a Secondary Capture as a Part 10 file, JPEG baseline."""
    ds = source.shared()
    _add_series(ds, source, capture)
    _add_derivation(ds, source, capture)
    _add_pixels(ds, capture.overlay)
    return encode_part10(ds, JPEGBaseline8Bit)


def _add_series(ds: Dataset, source: SourceHeader, capture: Capture) -> None:
    model = capture.model
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, capture.sop_instance_uid
    ds.Modality, ds.ConversionType = "OT", "WSD"
    ds.SeriesInstanceUID, ds.SeriesNumber = capture.series_instance_uid, SERIES_NUMBER
    ds.InstanceNumber, ds.SeriesDescription = 1, SERIES_DESCRIPTION
    if source.is_dated:
        ds.SeriesDate = ds.ContentDate = source.date
        ds.SeriesTime = ds.ContentTime = source.time
    # Laterality is required unless the body part is known to be unpaired.
    if source.ds.get("BodyPartExamined") == UNPAIRED:
        ds.BodyPartExamined = UNPAIRED
    else:
        ds.Laterality = ""
    ds.Manufacturer, ds.ManufacturerModelName = equipment.MANUFACTURER, model.name
    ds.DeviceSerialNumber = model.sha256
    ds.SoftwareVersions = [model.version, equipment.SOFTWARE_VERSION]
    ds.ContributingEquipmentSequence = [equipment.equipment_item(model)]


def _add_derivation(ds: Dataset, source: SourceHeader, capture: Capture) -> None:
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = list(source.orientation)
    ds.BurnedInAnnotation = "YES"  # legend and caption; nothing of the patient by us
    ds.DerivationDescription = capture.description
    if source.remarks:
        ds.ImageComments = " ".join(source.remarks)
    if capture.method is not None and capture.method.startswith("gradcam"):
        ds.DerivationCodeSequence = [concepts.code_item(concepts.GRAD_CAM)]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.sop_class_uid
    reference.ReferencedSOPInstanceUID = source.sop_instance_uid
    reference.PurposeOfReferenceCodeSequence = [concepts.code_item(concepts.SOURCE_IMAGE)]
    ds.SourceImageSequence = [reference]


def _add_pixels(ds: Dataset, overlay: NDArray[np.uint8]) -> None:
    picture = Image.fromarray(overlay)
    picture.thumbnail((MAX_PICTURE_PX, MAX_PICTURE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:2")
    jpeg = buffer.getvalue()
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, "YBR_FULL_422"
    ds.PlanarConfiguration, ds.PixelRepresentation = 0, 0
    ds.Rows, ds.Columns = picture.height, picture.width
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
    raw_bytes = 3 * picture.width * picture.height
    ds.LossyImageCompressionRatio = f"{raw_bytes / len(jpeg):.2f}"
    ds.PixelData = encapsulate([jpeg])
    ds["PixelData"].VR = "OB"
