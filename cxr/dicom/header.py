"""Technical facts of a DICOM header, none identifying the patient."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from cxr.dicom.age import age_of
from cxr.dicom.values import text_of
from cxr.pixels.image import DicomFacts, Projection

NO_VIEW = (
    "The DICOM header names no known view position; the model reads frontal views (PA, AP), and a "
    "lateral one may have gone unnoticed."
)
FOR_PROCESSING = (
    "The DICOM object is marked FOR PROCESSING; the model was trained on images as they are "
    "presented. Send the FOR PRESENTATION object."
)
BURNED_IN = (
    "The DICOM header says that annotations are burned into the pixels; they may hold patient "
    "data and influence the probability."
)


CODE = re.compile(r"[A-Z0-9_ ]{0,16}")
"""Value representation CS, PS3.5 table 6.2-1."""

NO_CODE = "?"
"""Stands for what is no code: a name, typed into the wrong field, is not passed on."""


def facts_of(ds: Dataset) -> DicomFacts:
    """Return the technical codes."""
    projection, code = _projection_of(ds)
    age = age_of(ds)
    return DicomFacts(
        modality=_code(ds, "Modality"),
        view_position=_code(ds, "ViewPosition") or code,
        projection=projection,
        body_part=_code(ds, "BodyPartExamined"),
        is_chest=is_chest(text_of(ds, "BodyPartExamined")),
        photometric_interpretation=_code(ds, "PhotometricInterpretation"),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        ages_years=age.years,
        age_warnings=age.warnings,
        presentation_intent=_code(ds, "PresentationIntentType"),
        burned_in_annotation=_code(ds, "BurnedInAnnotation"),
    )


def header_warnings(facts: DicomFacts) -> tuple[str, ...]:
    """Return warnings for the sender."""
    found = (
        (NO_VIEW, facts.projection is None),
        (FOR_PROCESSING, facts.presentation_intent == "FOR PROCESSING"),
        (BURNED_IN, facts.burned_in_annotation == "YES"),
    )
    return (*(sentence for sentence, applies in found if applies), *facts.age_warnings)


def _code(ds: Dataset, keyword: str) -> str:
    code = text_of(ds, keyword).upper()
    return code if CODE.fullmatch(code) else NO_CODE


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

FRONTAL_WORD = re.compile(
    r"(CXR|CHEST|THORAX)?(AP|PA|APPA|FRONTAL|POSTEROANTERIOR|ANTEROPOSTERIOR)"
)
"""One word of a frontal view. ``PA`` and ``AP`` are the standard's (PS3.3 C.8.11.5.1.1)."""

LATERAL_WORD = re.compile(
    r"(L|R|LT|RT|LEFT|RIGHT|CXR|CHEST|THORAX)?LAT\w*|LATERO\w*|SEITLICH|PROFILE?|PERFIL"
    r"|[LR]L[DO]?|[LR][AP]O|OBL\w*"  # the standard's, with decubitus and oblique
    r"|XTABLE\w*|XTL\w*|CROSSTABLE\w*|(L|R|LT|RT|LEFT|RIGHT)?DECUB\w*"
)
"""One word of a view that is not frontal."""

CROSS_TABLE = re.compile(r"\b(X|CROSS)[\W_]TABLE")
WORDS = re.compile(r"[^\W_]+")


def _projection_of(ds: Dataset) -> tuple[Projection | None, str]:
    """ViewPosition (0018,5101), then ViewCodeSequence (0054,0220), BodyPartExamined (0018,0015)."""
    code, meaning = _view_code(ds)
    stated = _projection_of_words(text_of(ds, "ViewPosition"))
    if stated is None:
        stated = _projection_of_words(code) or _projection_of_words(meaning)
    if stated is None and _projection_of_words(text_of(ds, "BodyPartExamined")) == "lateral":
        stated = "lateral"
    return stated, code


def _projection_of_words(text: str) -> Projection | None:
    upper = text.upper()
    words = WORDS.findall(upper)
    if CROSS_TABLE.search(upper) or any(LATERAL_WORD.fullmatch(word) for word in words):
        return "lateral"
    return "frontal" if any(FRONTAL_WORD.fullmatch(word) for word in words) else None


def _view_code(ds: Dataset) -> tuple[str, str]:
    try:
        items = ds.get("ViewCodeSequence")
        if not items:
            return "", ""
        code = VIEW_OF_CODE.get(text_of(items[0], "CodeValue"), "")
        return code, text_of(items[0], "CodeMeaning")
    except Exception:  # whatever pydicom makes of a sequence that is none
        return "", ""


CHEST_WORD = re.compile(
    r"(CHEST|CXR|THORAX|TORAX|TORACE)(AP|PA|LAT|PORT(ABLE)?|\d+|VIEWS?|V|XRAY)*"
    r"|LUNGS?|PULMO|PULMON(ES|ARY)?|POUMONS?"
)
"""One word for the chest: PS3.16 annex L's CHEST, THORAX, and how they are spelled."""

OTHER_WORD = re.compile(
    r"\d+|AP|PA|[LR]?LAT\w*|LL|RL|FRONTAL|VIEWS?|VW|V|PORT(ABLE)?|BED(SIDE)?|ERECT|UPRIGHT|SUPINE"
    r"|SITTING|STANDING|STD|STANDARD|ROUTINE|ADULT|PED(IATRIC)?|CHILD|INFANT|NEONATE|BABY|X|RAY|XRAY"
    r"|SINGLE|TWO|ONE|AND|OR|RIBS?|HEART|CR|DX|DR|XR"
)
"""One word that may stand beside it and names no other part of the body."""

UNKNOWN = frozenset({"UNKNOWN", "NONE", "UNDEFINED", "UNSPECIFIED", "NA"})
"""Says no more of the part than an absent attribute."""


def is_chest(text: str) -> bool:
    """Return whether BodyPartExamined (0018,0015) names the chest, or nothing."""
    words = WORDS.findall(text.upper())
    if not text or "".join(words) in UNKNOWN:
        return True
    known = all(CHEST_WORD.fullmatch(word) or OTHER_WORD.fullmatch(word) for word in words)
    return known and any(CHEST_WORD.fullmatch(word) for word in words)
