"""How large a DICOM file becomes when it is unpacked, told before it is."""

from __future__ import annotations

import io
import zlib

from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxr.errors import ImageTooLargeError, UnreadableImageError

MAX_INFLATED_BYTES = 160_000_000  # 64 million pixels of two bytes, and a generous header
_STEP_BYTES = 1 << 20


def verify_inflated_size(data: bytes) -> None:
    """Refuse a deflated file that inflates beyond measure: 1 kB can become 1 MB.

    Args:
        data: The whole Part 10 file.

    Raises:
        ImageTooLargeError: More than ``MAX_INFLATED_BYTES``. Not more than one step is held.
    """
    file = io.BytesIO(data)
    read_preamble(file, force=False)
    meta = _read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    rest, inflated = data[file.tell() :], 0
    while rest and not inflater.eof:
        inflated += len(inflater.decompress(rest, _STEP_BYTES))
        rest = inflater.unconsumed_tail
        if inflated > MAX_INFLATED_BYTES:
            raise ImageTooLargeError(
                f"The deflated DICOM file inflates to more than {MAX_INFLATED_BYTES} bytes. "
                "Send a smaller image."
            )


def verify_codestream_size(ds: Dataset) -> None:
    """Refuse a compressed frame whose own header declares another size than the dataset.

    The dataset's size was checked against the limit; decoders go by the frame's.

    Raises:
        UnreadableImageError: The sizes differ.
    """
    frame = get_frame(ds.PixelData, 0, number_of_frames=1)
    if not frame.startswith((b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0cjP")):
        return  # run-length encoding declares no size
    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as picture:
        if picture.size != (ds.Columns, ds.Rows):
            raise UnreadableImageError(
                "The compressed frame declares another size than the DICOM attributes Rows and "
                "Columns. Send the original object."
            )
