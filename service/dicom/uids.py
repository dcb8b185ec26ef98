"""Deterministic UIDs (PS3.5, B.2; RFC 9562, version 5): repeats make equal objects."""

from __future__ import annotations

import uuid
from typing import Literal, TypeAlias

NAMESPACE = uuid.UUID("db738c38-73b4-471d-97d1-03f1b2ddeafd")
"""Change it when the format of objects changes, so that they become other instances. Devices and
studies without a UID then get other UIDs, too."""

Kind: TypeAlias = Literal[
    "SR", "SR series", "SC", "SC series", "finding", "not analysed", "device", "study", "series"
]


def derive_uuid(kind: Kind, *origin: str) -> uuid.UUID:
    """Derive a UUID from an object's kind and ordered origin."""
    # The lengths distinguish ("ab", "c") from ("a", "bc").
    return uuid.uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in (kind, *origin)))


def derive_uid(kind: Kind, *origin: str) -> str:
    """Derive a DICOM UID of at most 44 characters."""
    return f"2.25.{derive_uuid(kind, *origin).int}"
