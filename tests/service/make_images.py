"""Radiograph-like test images, made in code. Their mean grey level decides the answer."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE_PX = 96
RAMP = 40  # grey levels either side of the mean: enough contrast to be in scope


def make_pixels(mean: int = 128, width: int = SIDE_PX, height: int = SIDE_PX) -> NDArray[np.uint8]:
    """Make a horizontal ramp around a mean grey level, shape (H, W)."""
    row = np.linspace(mean - RAMP, mean + RAMP, width)
    return np.clip(np.tile(row, (height, 1)), 0, 255).round().astype(np.uint8)


def make_file(kind: str, mean: int = 128, **size: int) -> bytes:
    """Make an encoded image: ``PNG`` or ``JPEG``."""
    buffer = io.BytesIO()
    Image.fromarray(make_pixels(mean, **size)).save(buffer, kind)
    return buffer.getvalue()


def make_png(mean: int = 128, **size: int) -> bytes:
    """Make a PNG file."""
    return make_file("PNG", mean, **size)


def make_jpeg(mean: int = 128, **size: int) -> bytes:
    """Make a JPEG file."""
    return make_file("JPEG", mean, **size)


def make_dicom(mean: int = 128, **attributes: object) -> bytes:
    """Make a plain DICOM Part 10 file; attributes replace or, as None, remove elements."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    ds.PatientName = "Test^Canary"
    ds.PatientID = "CANARY-Z4711"
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "CR", "CHEST", "PA"
    ds.PhotometricInterpretation, ds.SamplesPerPixel = "MONOCHROME2", 1
    ds.Rows = ds.Columns = SIDE_PX
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.WindowCenter, ds.WindowWidth = "128", "256"  # the identity on 8 bits
    ds.PixelData = make_pixels(mean).tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def make_flat_png(grey: int) -> bytes:
    """Make a PNG file of one grey level: the same at any size."""
    buffer = io.BytesIO()
    Image.new("L", (SIDE_PX, SIDE_PX), grey).save(buffer, "PNG")
    return buffer.getvalue()


def make_png_bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """Make a PNG file of some bytes that declares billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
