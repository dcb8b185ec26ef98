"""Bound the work a JPEG stream causes its decoder beyond its size.

Each scan goes over the whole image, so that 16 bytes can cost as much as a picture.
"""

from __future__ import annotations

import re
from typing import NoReturn, TypeAlias

from cxr.errors import ImageTooLargeError

Stream: TypeAlias = bytes | memoryview

MAX_SCANS = 32  # libjpeg writes 10 of colour, 18 of four channels; optimisers some more
MAX_SEGMENTS = 1024  # a dozen, and some hundred of a large colour profile
MAX_STRAY_BYTES = 65_536  # between segments: fill bytes and junk

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_IN_DATA = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # others are stuffed bits, or restarts
_SCAN, _END = 0xDA, 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # without a length: TEM, RST, SOI


def verify_markers(stream: Stream) -> int:
    """Bound scans, segments and stray bytes of a JPEG stream (ITU-T T.81, B.1); return its scans.

    Raises:
        ImageTooLargeError: It has more of something than any encoder writes.
    """
    position, segments, stray, scans = 2, 0, 0, 0
    while scans or len(stream) > position:
        if scans:
            found = _IN_DATA.search(stream, position)
        else:
            found = _MARKER.search(stream, position, position + MAX_STRAY_BYTES + 2)
            stray += (len(stream) if found is None else found.start()) - position
        if stray > MAX_STRAY_BYTES:
            _refuse(f"{MAX_STRAY_BYTES} bytes outside any segment")
        if found is None or stream[found.end() - 1] == _END:
            break
        position = found.end()
        marker = stream[position - 1]
        segments += 1
        scans += marker == _SCAN
        if scans > MAX_SCANS:
            _refuse(f"{MAX_SCANS} scans")
        if segments > MAX_SEGMENTS:
            _refuse(f"{MAX_SEGMENTS} segments")
        if marker not in _BARE:
            position += max(int.from_bytes(stream[position : position + 2], "big"), 2)
    return scans


def _refuse(what: str) -> NoReturn:
    raise ImageTooLargeError(
        f"The JPEG data hold more than {what}, which exceeds the limit. Send the image "
        "in another encoding, for example as a baseline JPEG."
    )
