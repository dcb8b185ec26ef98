"""The few attributes an object is filed under, read without its pixels."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from typing import BinaryIO

from cxr.dicom.part10 import FileMeta, Inflating
from cxr.dicom.structure import Bytes, Walk
from cxr.errors import ImageTooLargeError, UnreadableImageError
from service.gateway.errors import UnreadableObjectError

SOP_CLASS, SOP_INSTANCE, MANUFACTURER, STUDY = 0x00080016, 0x00080018, 0x00080070, 0x0020000D
TAGS = frozenset({SOP_CLASS, SOP_INSTANCE, MANUFACTURER, STUDY})
LAST_TAG = 0x0020000E
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
        file: On disk.
        digest: The object's if it is known; else the whole file is read for it.

    Raises:
        UnreadableObjectError: It is no DICOM, a UID is missing or malformed, or it holds more
            before its UIDs than :mod:`cxr.dicom.bounds` allows.
    """
    try:
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return _read(data, digest)
    except ValueError:  # it is empty
        raise UnreadableObjectError(UNREADABLE) from None


def read_header_of(data: bytes) -> ObjectHeader:
    """Read the header of a file held in memory.

    Raises:
        UnreadableObjectError: It is no DICOM, or a UID is missing or malformed.
    """
    return _read(data, "")


def _read(data: Bytes, known_digest: str) -> ObjectHeader:
    try:
        meta = FileMeta(data)
        found = _found(data, meta)
    except ImageTooLargeError as error:  # says of what there is too much
        raise UnreadableObjectError(str(error)) from None
    except UnreadableImageError:
        raise UnreadableObjectError(UNREADABLE) from None
    return ObjectHeader(
        sop_class_uid=_uid(found, SOP_CLASS),
        sop_instance_uid=_uid(found, SOP_INSTANCE),
        study_instance_uid=_uid(found, STUDY),
        transfer_syntax_uid=_verified(meta.syntax or ""),
        manufacturer=_text(found, MANUFACTURER),
        digest=known_digest or _digest(meta.syntax or "", data, meta.end),
    )


def _found(data: Bytes, meta: FileMeta) -> dict[int, bytes]:
    """Walk as far as the UIDs; pixels and what else comes later are left alone."""
    grow, begin = None, meta.end
    if meta.is_deflated:
        inflating = Inflating(data, meta.end)
        data, grow, begin = inflating.data, inflating.grow, 0
    walk = Walk(data, meta.order_of(data), lambda tag: tag > LAST_TAG, TAGS, grow)
    walk.run(begin)
    return walk.found


def _digest(syntax: str, data: Bytes, begin: int) -> str:
    digest = hashlib.sha256(syntax.encode())
    for at in range(begin, len(data), 1 << 20):
        digest.update(data[at : at + (1 << 20)])
    return digest.hexdigest()


def _text(found: dict[int, bytes], tag: int) -> str:
    return found.get(tag, b"").decode("latin-1").strip(" \0")


def _uid(found: dict[int, bytes], tag: int) -> str:
    return _verified(_text(found, tag))


def _verified(uid: str) -> str:
    if len(uid) > 64 or not UID_FORM.fullmatch(uid):
        raise UnreadableObjectError(UNREADABLE)
    return uid
