"""Whether a body part is the chest, in the spellings that archives hold."""

from __future__ import annotations

import re

CHEST = re.compile(
    r"(CHEST|CXR|THORAX|TORAX|TORACE)(AP|PA|LAT|PORT(ABLE)?|\d+|VIEWS?|V|XRAY)*"
    r"|LUNGS?|PULMO|PULMON(ES|ARY)?|POUMONS?"
)
"""One word for the chest: PS3.16 annex L's CHEST, THORAX, and how they are spelled."""

BESIDE = re.compile(
    r"\d+|AP|PA|[LR]?LAT\w*|LL|RL|FRONTAL|VIEWS?|VW|V|PORT(ABLE)?|BED(SIDE)?|ERECT|UPRIGHT|SUPINE"
    r"|SITTING|STANDING|STD|STANDARD|ROUTINE|ADULT|PED(IATRIC)?|CHILD|INFANT|NEONATE|BABY|X|RAY|XRAY"
    r"|SINGLE|TWO|ONE|AND|OR|RIBS?|HEART|CR|DX|DR|XR"
)
"""One word that may stand beside it and names no other part of the body."""

UNKNOWN = frozenset({"UNKNOWN", "NONE", "UNDEFINED", "UNSPECIFIED", "NA"})
"""Says no more of the part than an absent attribute."""

WORDS = re.compile(r"[^\W_]+")


def is_chest(text: str) -> bool:
    """Tell whether BodyPartExamined (0018,0015) names the chest, or nothing."""
    words = WORDS.findall(text.upper())
    if not text or "".join(words) in UNKNOWN:
        return True
    known = all(CHEST.fullmatch(word) or BESIDE.fullmatch(word) for word in words)
    return known and any(CHEST.fullmatch(word) for word in words)
