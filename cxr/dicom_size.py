"""How large a DICOM file becomes when it is unpacked, told before it is."""

from __future__ import annotations

import io
import zlib

from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxr.errors import ImageTooLargeError

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
