"""The Store Instances Response (PS3.18, Annex I) in DICOM JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "application/dicom+json"

REFERENCED_SOP_SEQUENCE = "00081199"
FAILED_SOP_SEQUENCE = "00081198"
OTHER_FAILURES_SEQUENCE = "0008119A"
FAILURE_REASON = "00081197"
SOP_CLASS_UID = "00081150"
SOP_INSTANCE_UID = "00081155"

OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000
STUDY_MISMATCH = 0xC409
PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111
CLASS_NOT_SUPPORTED = 0x0122


@dataclass(frozen=True)
class Stored:
    """A stored object."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Failed:
    """A rejected object; its UIDs are empty if it was unreadable."""

    reason: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


def build_stow_answer(stored: Sequence[Stored], failed: Sequence[Failed]) -> dict[str, Any]:
    """Build the DICOM JSON object."""
    sequences = {
        REFERENCED_SOP_SEQUENCE: [_item(one.sop_class_uid, one.sop_instance_uid) for one in stored],
        FAILED_SOP_SEQUENCE: [
            _item(one.sop_class_uid, one.sop_instance_uid, one.reason)
            for one in failed
            if one.sop_instance_uid
        ],
        OTHER_FAILURES_SEQUENCE: [
            {FAILURE_REASON: {"vr": "US", "Value": [one.reason]}}
            for one in failed
            if not one.sop_instance_uid
        ],
    }
    return {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}


def read_stow_answer(content: bytes) -> tuple[set[str], dict[str, int]]:
    """Return the stored SOP Instance UIDs, and the failure reasons of the others.

    Raises:
        ValueError: Not such JSON, or with duplicate members, Infinity or NaN.
    """
    try:
        answer = json.loads(content, object_pairs_hook=_object, parse_constant=_refuse)
        if isinstance(answer, list) and len(answer) == 1:  # some archives wrap it
            answer = answer[0]
        stored = {_uid(item) for item in _items(answer, REFERENCED_SOP_SEQUENCE)}
        failed = {_uid(item): _reason(item) for item in _items(answer, FAILED_SOP_SEQUENCE)}
    except (AttributeError, KeyError, IndexError, TypeError, RecursionError):
        raise ValueError("no Store Instances Response Module") from None
    return stored, failed


def is_refusal(status: int) -> bool:
    """Whether a storage status (PS3.4, B.2.3) is permanent.

    Cxxx is not: archives misuse it for transient failures.
    """
    return status == CLASS_NOT_SUPPORTED or 0xA900 <= status <= 0xA9FF


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):  # which one counts is undefined (RFC 8259, 4)
        raise ValueError("duplicate member")
    return members


def _refuse(constant: str) -> Any:
    raise ValueError("not a JSON number")  # Infinity and NaN, which Python accepts


def _item(sop_class_uid: str, sop_instance_uid: str, reason: int | None = None) -> dict[str, Any]:
    item: dict[str, Any] = {
        SOP_CLASS_UID: {"vr": "UI", "Value": [sop_class_uid]},
        SOP_INSTANCE_UID: {"vr": "UI", "Value": [sop_instance_uid]},
    }
    if reason is not None:
        item[FAILURE_REASON] = {"vr": "US", "Value": [reason]}
    return item


def _items(answer: Any, tag: str) -> list[Any]:
    items = answer.get(tag, {}).get("Value", [])
    if not isinstance(items, list):
        raise TypeError(tag)
    return items


def _uid(item: Any) -> str:
    [uid] = item[SOP_INSTANCE_UID]["Value"]
    if not isinstance(uid, str):
        raise TypeError(SOP_INSTANCE_UID)
    return uid


def _reason(item: Any) -> int:
    # 16 bits (PS3.6: US); some archives write numbers as strings.
    [told] = item[FAILURE_REASON]["Value"]
    reason = int(told) if isinstance(told, str) else told
    if type(reason) is not int or not 0 <= reason <= 0xFFFF:
        raise TypeError(FAILURE_REASON)
    return reason
