"""The few attributes an object is filed under, read without its pixels."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from service.gateway.errors import UnreadableObjectError

PREAMBLE_BYTES = 128
PREFIX = b"DICM"
MAX_META_BYTES = 65_536  # a dozen short elements
MAX_INFLATED_BYTES = 4 * 1024 * 1024  # of a deflated object, for what precedes its series
LAST_TAG = 0x0020000E
TAGS: list[BaseTag | int] = [0x00080016, 0x00080018, 0x00080070, 0x0020000D]
UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")

UNREADABLE = "The object is no DICOM that can be filed. Send Part 10 files with their UIDs."


@dataclass(frozen=True)
class ObjectHeader:
    """What an object says of itself.

    Attributes:
        sop_class_uid: SOP Class UID.
        sop_instance_uid: SOP Instance UID.
        study_instance_uid: Study Instance UID.
        transfer_syntax_uid: Transfer Syntax UID.
        manufacturer: Manufacturer; compared with our own, never shown.
        digest: SHA-256 of transfer syntax and data set. The file meta group is left out: it
            tells of the last hop, and a repeat may come by another.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    manufacturer: str
    digest: str


def read_header(file: BinaryIO, digest: str = "") -> ObjectHeader:
    """Read a Part 10 file's header (PS3.10, 7.1).

    Args:
        file: At its beginning.
        digest: The object's if it is known; else the whole file is read for it.

    Raises:
        UnreadableObjectError: It is no DICOM, or a UID is missing or malformed.
    """
    try:
        return _read(file, digest)
    except UnreadableObjectError:
        raise
    except Exception:  # whatever a parser makes of what is no DICOM
        raise UnreadableObjectError(UNREADABLE) from None


def read_header_of(data: bytes) -> ObjectHeader:
    """Read the header of a file held in memory.

    Raises:
        UnreadableObjectError: It is no DICOM, or a UID is missing or malformed.
    """
    return read_header(io.BytesIO(data))


def _read(file: BinaryIO, known_digest: str) -> ObjectHeader:
    if file.read(PREAMBLE_BYTES + len(PREFIX))[PREAMBLE_BYTES:] != PREFIX:
        raise UnreadableObjectError(UNREADABLE)
    # (0002,0000) UL: the length of what follows in the group, always explicit little endian.
    group_length = file.read(12)
    length = int.from_bytes(group_length[8:], "little")
    if group_length[:6] != b"\x02\x00\x00\x00UL" or length > MAX_META_BYTES:
        raise UnreadableObjectError(UNREADABLE)
    meta = read_dataset(io.BytesIO(file.read(length)), is_implicit_VR=False, is_little_endian=True)
    syntax = UID(_uid(meta, "TransferSyntaxUID"))
    digest = known_digest or _digest(syntax, file)
    if syntax == DeflatedExplicitVRLittleEndian:
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        data = inflating.decompress(file.read(MAX_INFLATED_BYTES), MAX_INFLATED_BYTES)
        file = io.BytesIO(data)
    ds = read_dataset(
        file,
        # A private syntax is explicit little endian unless it says otherwise (PS3.5, 10).
        is_implicit_VR=syntax.is_implicit_VR if syntax.is_transfer_syntax else False,
        is_little_endian=syntax.is_little_endian if syntax.is_transfer_syntax else True,
        stop_when=lambda tag, vr, size: tag > LAST_TAG,
        specific_tags=TAGS,
    )
    return ObjectHeader(
        sop_class_uid=_uid(ds, "SOPClassUID"),
        sop_instance_uid=_uid(ds, "SOPInstanceUID"),
        study_instance_uid=_uid(ds, "StudyInstanceUID"),
        transfer_syntax_uid=str(syntax),
        manufacturer=str(ds.get("Manufacturer", "")),
        digest=digest,
    )


def _digest(syntax: str, file: BinaryIO) -> str:
    begin = file.tell()
    digest = hashlib.sha256(syntax.encode())
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    file.seek(begin)
    return digest.hexdigest()


def _uid(ds: Dataset, keyword: str) -> str:
    value = str(ds.get(keyword, ""))
    if len(value) > 64 or not UID_FORM.fullmatch(value):
        raise UnreadableObjectError(UNREADABLE)
    return value
