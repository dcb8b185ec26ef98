"""UIDs that follow from what they stand for, so that a repeat makes the same objects.

They are UUID-derived (PS3.5, B.2): ``2.25.`` and 128 bits, here of RFC 9562's version 5.
"""

from __future__ import annotations

import uuid
from typing import Literal, TypeAlias

NAMESPACE = uuid.UUID("db738c38-73b4-471d-97d1-03f1b2ddeafd")
"""To be replaced when objects change in form: the new ones are then other instances. It stayed
when the digest of pixels joined what UIDs are derived from: that alone makes other instances, and
devices and missing studies keep their UIDs."""

Kind: TypeAlias = Literal[
    "SR", "SR series", "SC", "SC series", "finding", "not analysed", "device", "study", "series"
]


def derive_uuid(kind: Kind, *origin: str) -> uuid.UUID:
    """Derive a UUID from a kind of thing and what identifies it.

    Args:
        kind: Of the object.
        *origin: What it was made from, in a fixed order.
    """
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    return uuid.uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in (kind, *origin)))


def derive_uid(kind: Kind, *origin: str) -> str:
    """Give the same as a DICOM UID, at most 44 characters."""
    return f"2.25.{derive_uuid(kind, *origin).int}"
