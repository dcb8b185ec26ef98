"""The same picture in every encoding: the same pixels and the same probability."""

from __future__ import annotations

import numpy as np
import pytest

from cxr.dicom.syntaxes import READ
from cxr.images.decoding import DecodeOptions, decode_image
from export.phantom import draw_phantom
from tests.cxr import dcmtk
from tests.cxr.dicom_encodings import ENCODINGS, Encoding

PHANTOM = draw_phantom(5)
FULL_SIZE = DecodeOptions(reduce_to_px=0)


@pytest.mark.parametrize("encoding", ENCODINGS + dcmtk.ENCODINGS, ids=lambda e: e.name)
def test_same_picture_in_every_encoding(encoding: Encoding) -> None:
    """Lossless ones to one grey level, lossy ones to five on average."""
    image = decode_image(encoding.encode(PHANTOM), FULL_SIZE)
    difference = np.abs(image.pixels.astype(int) - PHANTOM)
    if encoding.tolerance > 0.01:
        assert difference.mean() < 5
    else:
        assert difference.max() <= 1
    assert image.chroma < 3


def test_every_transfer_syntax_that_is_read_is_in_the_table() -> None:
    """But the retired progressive ones, which only dcmtk writes."""
    made = {decode_image(e.encode(PHANTOM)).dicom.transfer_syntax_uid for e in ENCODINGS}
    assert {s.uid for s in READ} - made == {"1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"}
