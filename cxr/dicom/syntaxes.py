"""The supported DICOM transfer syntaxes and their decoders.

Decoders are called by name, so that none installed beside them is used. OpenJPEG reads HTJ2K:
OpenJPH is faster, but loses errors and leaves memory unwritten.
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
    """Decoder of a transfer syntax, and the most memory it takes for a pixel."""

    family: str
    decode: Callable[..., NDArray[Any]]
    library: str
    gray_bytes: int
    colour_bytes: int


@dataclass(frozen=True)
class Syntax:
    """One transfer syntax (PS3.5, chapter 10 and annex A)."""

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
    """Return the transfer syntaxes as a Markdown table."""
    rows = [f"| `{s.uid}` | {s.name} | {_reader_of(s)} |\n" for s in READ]
    return "| UID | transfer syntax | read by |\n|---|---|---|\n" + "".join(rows)


def _reader_of(syntax: Syntax) -> str:
    if syntax.codec is not None:
        return syntax.codec.library
    return "imagecodecs (BSD-3-Clause)" if syntax.uid == RLE else "NumPy (BSD-3-Clause)"
