"""Drawn chest radiographs that show no patient."""

from __future__ import annotations

import io

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from cxr.pixels.image import GrayImage

WIDTH, HEIGHT = 640, 512
_UID_ROOT = "2.25.310118022019430511702470384310101"  # fixed, so that a rebuilt file is the same


def draw_phantom(seed: int, opacity: float = 0.0) -> GrayImage:
    """Draw a thorax (HEIGHT, WIDTH), uint8, with a patch of ``opacity`` in one lung."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    x, y = (x - WIDTH / 2) / WIDTH, (y - HEIGHT / 2) / HEIGHT

    def ellipse(
        cx: float, cy: float, rx: float, ry: float, soft: float = 0.15
    ) -> NDArray[np.float64]:
        distance = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
        return 1.0 / (1.0 + np.exp((distance - 1.0) / soft))

    wobble = rng.uniform(-0.02, 0.02, 6)
    image = 25.0 + 150.0 * ellipse(0.0, 0.05, 0.44 + wobble[0], 0.56 + wobble[1], 0.05)
    for side in (-1.0, 1.0):
        lung = ellipse(side * 0.19 + wobble[2], -0.05 + wobble[3], 0.13, 0.33)
        ribs = 0.5 + 0.5 * np.cos((y + 0.5 * np.abs(x)) * 70.0 + seed)
        image -= lung * (105.0 - 22.0 * ribs)
    image += 45.0 * ellipse(0.0, 0.0, 0.035, 0.6)
    image += 70.0 * ellipse(0.06 + wobble[4], 0.12 + wobble[5], 0.12, 0.17)
    image += 90.0 * opacity * ellipse(-0.2, 0.12, 0.08, 0.12, 0.3)
    image += rng.normal(0.0, 4.0, image.shape)
    return np.clip(image + 0.5, 0.0, 255.0).astype(np.uint8)


def encode_jpeg(image: GrayImage) -> bytes:
    """Encode as a grey JPEG of quality 95."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def encode_png(image: GrayImage) -> bytes:
    """Encode as a grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def encode_dicom(image: GrayImage, monochrome1: bool = False) -> bytes:
    """Encode as an uncompressed 12-bit DX image that is displayed as ``image``."""
    stored = image.astype(np.uint16) * 16
    if monochrome1:
        stored = 255 * 16 - stored
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(_UID_ROOT + ("1" if monochrome1 else "2"))
    meta.ImplementationClassUID = pydicom.uid.UID(_UID_ROOT + "0")
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _UID_ROOT + "3", _UID_ROOT + "4"
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.Rows, ds.Columns = image.shape
    ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 16, 12, 11
    ds.PixelRepresentation = 0
    ds.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    # LINEAR_EXACT over 0..4080 shows a stored value of 16 * g as grey level g (PS3.3 C.11.2.1.3).
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 2040, 4080, "LINEAR_EXACT"
    ds.PixelData = stored.tobytes()
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
