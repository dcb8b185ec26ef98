"""The DICOM transfer syntaxes that are read, and the library that reads each.

One permissively licensed package decodes all compressed ones. It is called by name and never
looked up, so a decoder that happens to be installed beside it is not used. OpenJPEG reads HTJ2K
too: the package's OpenJPH is quicker, but its errors are lost and leave memory unwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imagecodecs import jpeg2k_decode, jpeg8_decode, jpegls_decode
from numpy.typing import NDArray

JPEG, JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = "jpeg", "jpeg-lossless", "jpeg-ls", "jpeg-2000"


@dataclass(frozen=True)
class Codec:
    """What reads the codestream of a compressed transfer syntax.

    Attributes:
        family: Which headers its codestreams have.
        decode: Bytes of one codestream to its samples.
        library: Behind ``decode``, with its licence.
        gray_bytes: Most memory it takes for each pixel, with what it gives, measured.
        colour_bytes: The same of three samples a pixel.
    """

    family: str
    decode: Callable[..., NDArray[Any]]
    library: str
    gray_bytes: int
    colour_bytes: int


@dataclass(frozen=True)
class Syntax:
    """One transfer syntax (PS3.5, chapter 10 and annex A).

    Attributes:
        uid: (0002,0010).
        name: The standard's, shortened.
        codec: None where pixels stand uncompressed or run-length encoded.
        is_lossy: Whether decoded values may differ from those that were encoded.
    """

    uid: str
    name: str
    codec: Codec | None = None
    is_lossy: bool = False


_JPEG = Codec(JPEG, jpeg8_decode, "libjpeg-turbo (IJG, BSD-3-Clause)", 5, 10)
_LOSSLESS = Codec(JPEG_LOSSLESS, jpeg8_decode, "libjpeg-turbo (IJG, BSD-3-Clause)", 4, 8)
_JPEG_LS = Codec(JPEG_LS, jpegls_decode, "CharLS (BSD-3-Clause)", 4, 8)
_JPEG_2000 = Codec(JPEG_2000, jpeg2k_decode, "OpenJPEG (BSD-2-Clause)", 8, 17)

RLE = "1.2.840.10008.1.2.5"

READ = (
    Syntax("1.2.840.10008.1.2", "Implicit VR Little Endian"),
    Syntax("1.2.840.10008.1.2.1", "Explicit VR Little Endian"),
    Syntax("1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian"),
    Syntax("1.2.840.10008.1.2.2", "Explicit VR Big Endian (retired)"),
    Syntax(RLE, "RLE Lossless"),
    Syntax("1.2.840.10008.1.2.4.50", "JPEG Baseline, 8 bits (process 1)", _JPEG, True),
    Syntax("1.2.840.10008.1.2.4.51", "JPEG Extended, 12 bits (processes 2 and 4)", _JPEG, True),
    Syntax("1.2.840.10008.1.2.4.53", "JPEG Spectral Selection (6 and 8, retired)", _JPEG, True),
    Syntax("1.2.840.10008.1.2.4.55", "JPEG Full Progression (10 and 12, retired)", _JPEG, True),
    Syntax("1.2.840.10008.1.2.4.57", "JPEG Lossless (process 14)", _LOSSLESS),
    Syntax("1.2.840.10008.1.2.4.70", "JPEG Lossless, first-order prediction (SV1)", _LOSSLESS),
    Syntax("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless", _JPEG_LS),
    Syntax("1.2.840.10008.1.2.4.81", "JPEG-LS Near-lossless", _JPEG_LS, True),
    Syntax("1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless Only", _JPEG_2000),
    Syntax("1.2.840.10008.1.2.4.91", "JPEG 2000", _JPEG_2000, True),
    Syntax("1.2.840.10008.1.2.4.201", "HTJ2K Lossless Only", _JPEG_2000),
    Syntax("1.2.840.10008.1.2.4.202", "HTJ2K Lossless with RPCL order", _JPEG_2000),
    Syntax("1.2.840.10008.1.2.4.203", "HTJ2K", _JPEG_2000, True),
)

BY_UID = {syntax.uid: syntax for syntax in READ}


def syntaxes_table() -> str:
    """Give the transfer syntaxes as a table in Markdown."""
    rows = [f"| `{s.uid}` | {s.name} | {_reader_of(s)} |\n" for s in READ]
    return "| UID | transfer syntax | read by |\n|---|---|---|\n" + "".join(rows)


def _reader_of(syntax: Syntax) -> str:
    if syntax.codec is not None:
        return syntax.codec.library
    return "imagecodecs (BSD-3-Clause)" if syntax.uid == RLE else "NumPy (BSD-3-Clause)"
