"""What a pixel of a DICOM file takes while it is decoded."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from cxr.dicom.pixel_data import decoding_bytes
from cxr.dicom.syntaxes import BY_UID


@pytest.mark.parametrize(("samples", "photometric"), [(1, "MONOCHROME2"), (3, "RGB")])
def test_memory_of_a_pixel_follows_its_samples(samples: int, photometric: str) -> None:
    """A codec's own figure for grey and colour; uncompressed, the cells and two bytes."""
    ds = Dataset()
    ds.Rows = ds.Columns = 8
    ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored = samples, 8, 8
    ds.PhotometricInterpretation, ds.NumberOfFrames = photometric, 1
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    codec = BY_UID[JPEGBaseline8Bit].codec
    assert codec is not None
    assert codec.gray_bytes != codec.colour_bytes
    assert decoding_bytes(ds) == (codec.gray_bytes if samples == 1 else codec.colour_bytes)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assert decoding_bytes(ds) == samples + 2
