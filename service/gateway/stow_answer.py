"""The Store Instances Response Module (PS3.18, Annex I) in DICOM JSON: built and read."""

from __future__ import annotations

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
    """One object that was stored."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Failed:
    """One object that was not; the UIDs are empty if it could not be read."""

    reason: int
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


def build_stow_answer(stored: Sequence[Stored], failed: Sequence[Failed]) -> dict[str, Any]:
    """Give the DICOM JSON object."""
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


def read_stow_answer(answer: Any) -> tuple[set[str], dict[str, int]]:
    """Read an archive's answer.

    Args:
        answer: The parsed JSON.

    Returns:
        SOP Instance UIDs that were stored, and those that were not with their reasons.

    Raises:
        ValueError: It is no such object.
    """
    if isinstance(answer, list) and len(answer) == 1:  # some archives wrap it
        answer = answer[0]
    try:
        stored = {
            _first(item, SOP_INSTANCE_UID) for item in _items(answer, REFERENCED_SOP_SEQUENCE)
        }
        failed = {
            _first(item, SOP_INSTANCE_UID): int(_first(item, FAILURE_REASON))
            for item in _items(answer, FAILED_SOP_SEQUENCE)
        }
    except (AttributeError, KeyError, IndexError, TypeError):
        raise ValueError("no Store Instances Response Module") from None
    return stored, failed


def _item(sop_class_uid: str, sop_instance_uid: str, reason: int | None = None) -> dict[str, Any]:
    item: dict[str, Any] = {
        SOP_CLASS_UID: {"vr": "UI", "Value": [sop_class_uid]},
        SOP_INSTANCE_UID: {"vr": "UI", "Value": [sop_instance_uid]},
    }
    if reason is not None:
        item[FAILURE_REASON] = {"vr": "US", "Value": [reason]}
    return item


def _items(answer: Any, tag: str) -> list[Any]:
    return list(answer.get(tag, {}).get("Value", []))


def _first(item: Any, tag: str) -> Any:
    return item[tag]["Value"][0]
