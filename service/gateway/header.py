"""Object headers, read without pixels."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from typing import BinaryIO

from pydicom import uid

from cxr.dicom.part10 import FileMeta, Inflating
from cxr.dicom.structure import Bytes, Walk
from cxr.errors import ImageTooLargeError, UnreadableImageError
from service.dicom.equipment import MANUFACTURER
from service.gateway.errors import UnreadableObjectError

SOP_CLASS, SOP_INSTANCE, MAKER, STUDY = 0x00080016, 0x00080018, 0x00080070, 0x0020000D
TAGS = frozenset({SOP_CLASS, SOP_INSTANCE, MAKER, STUDY})
LAST_TAG = 0x0020000E
UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")

UNREADABLE = "The object is not a DICOM Part 10 file with valid UIDs."

ANALYSED_CLASSES = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.SecondaryCaptureImageStorage,  # real radiographs carry it, with Modality CR
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
"""Objects of other classes are accepted, so that whole studies can be sent, but not stored."""


@dataclass(frozen=True)
class ObjectHeader:
    """What the gateway knows of an object.

    Attributes:
        manufacturer: Compared with the gateway's own, never shown.
        digest: SHA-256 of transfer syntax and data set; the file meta group changes per hop.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    manufacturer: str
    digest: str


def read_header(file: BinaryIO, digest: str = "") -> ObjectHeader:
    """Read a Part 10 header (PS3.10, 7.1); the whole file unless the digest is known.

    Raises:
        UnreadableObjectError: Not DICOM, bad UIDs, or too many bytes before them.
    """
    try:
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return _read(data, digest)
    except ValueError:  # the file is empty
        raise UnreadableObjectError(UNREADABLE) from None


def read_header_of(data: bytes) -> ObjectHeader:
    """See :func:`read_header`; for bytes in memory."""
    return _read(data, "")


def is_analysed(header: ObjectHeader) -> bool:
    """Whether an object is a radiograph, not a returned result."""
    return header.sop_class_uid in ANALYSED_CLASSES and header.manufacturer != MANUFACTURER


def _read(data: Bytes, known_digest: str) -> ObjectHeader:
    try:
        meta = FileMeta(data)
        found = _found(data, meta)
    except ImageTooLargeError as error:  # says what there is too much of
        raise UnreadableObjectError(str(error)) from None
    except UnreadableImageError:
        raise UnreadableObjectError(UNREADABLE) from None
    return ObjectHeader(
        sop_class_uid=_uid(found, SOP_CLASS),
        sop_instance_uid=_uid(found, SOP_INSTANCE),
        study_instance_uid=_uid(found, STUDY),
        transfer_syntax_uid=_verified(meta.syntax or ""),
        manufacturer=_text(found, MAKER),
        digest=known_digest or _digest(meta.syntax or "", data, meta.end),
    )


def _found(data: Bytes, meta: FileMeta) -> dict[int, bytes]:
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


def _verified(value: str) -> str:
    if len(value) > 64 or not UID_FORM.fullmatch(value):
        raise UnreadableObjectError(UNREADABLE)
    return value
