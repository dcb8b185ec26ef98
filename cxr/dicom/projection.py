"""Whether a chest radiograph is frontal or lateral, by what archives write about its view."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from cxr.dicom.values import text_of
from cxr.pixels.image import Projection

VIEW_OF_CODE = {
    "R-10206": "AP",
    "399348003": "AP",
    "R-10214": "PA",
    "272479007": "PA",
    "R-10236": "LL",
    "399173006": "LL",
    "R-10232": "RL",
    "399198007": "RL",
}
"""PS3.16 CID 4010, as SNOMED RT and SNOMED CT: the view where ViewPosition is empty."""

FRONTAL = re.compile(r"(CXR|CHEST|THORAX)?(AP|PA|APPA|FRONTAL|POSTEROANTERIOR|ANTEROPOSTERIOR)")
"""One word of a frontal view. ``PA`` and ``AP`` are the standard's (PS3.3 C.8.11.5.1.1)."""

LATERAL = re.compile(
    r"(L|R|LT|RT|LEFT|RIGHT|CXR|CHEST|THORAX)?LAT\w*|LATERO\w*|SEITLICH|PROFILE?|PERFIL"
    r"|[LR]L[DO]?|[LR][AP]O|OBL\w*"  # the standard's, with decubitus and oblique
    r"|XTABLE\w*|XTL\w*|CROSSTABLE\w*|(L|R|LT|RT|LEFT|RIGHT)?DECUB\w*"
)
"""One word of a view that is not frontal."""

CROSS_TABLE = re.compile(r"\b(X|CROSS)[\W_]TABLE")
WORDS = re.compile(r"[^\W_]+")


def projection_of(ds: Dataset) -> tuple[Projection | None, str]:
    """Tell the projection of a radiograph from its header.

    ViewPosition (0018,5101) first; if it says nothing known, the codes and words of
    ViewCodeSequence (0054,0220), and a lateral word in BodyPartExamined (0018,0015).

    Returns:
        The projection, None if the header names no known one; and the view position that a code
        stands for, empty if there is none.
    """
    code, meaning = _view_code(ds)
    stated = projection_of_words(text_of(ds, "ViewPosition"))
    if stated is None:
        stated = projection_of_words(code) or projection_of_words(meaning)
    if stated is None and projection_of_words(text_of(ds, "BodyPartExamined")) == "lateral":
        stated = "lateral"
    return stated, code


def projection_of_words(text: str) -> Projection | None:
    """Tell the projection that some words name, lateral if they name both."""
    upper = text.upper()
    words = WORDS.findall(upper)
    if CROSS_TABLE.search(upper) or any(LATERAL.fullmatch(word) for word in words):
        return "lateral"
    return "frontal" if any(FRONTAL.fullmatch(word) for word in words) else None


def _view_code(ds: Dataset) -> tuple[str, str]:
    try:
        items = ds.get("ViewCodeSequence")
        if not items:
            return "", ""
        code = VIEW_OF_CODE.get(text_of(items[0], "CodeValue"), "")
        return code, text_of(items[0], "CodeMeaning")
    except Exception:  # whatever pydicom makes of a sequence that is none
        return "", ""
