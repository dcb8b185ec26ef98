"""What a DICOM header tells of an image without telling anything of the patient."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from cxr.dicom_age import age_years_of
from cxr.image import DicomFacts

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

NO_VIEW = (
    "The DICOM header names no view position; the model reads frontal views (PA, AP), and a "
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
    """Give the technical codes of a header."""
    return DicomFacts(
        modality=_code(ds, "Modality"),
        view_position=_view_of(ds),
        body_part=_code(ds, "BodyPartExamined"),
        photometric_interpretation=_code(ds, "PhotometricInterpretation"),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        age_years=age_years_of(ds),
        presentation_intent=_code(ds, "PresentationIntentType"),
        burned_in_annotation=_code(ds, "BurnedInAnnotation"),
    )


def header_warnings(facts: DicomFacts) -> tuple[str, ...]:
    """Give the sentences for the sender to which a header gives cause."""
    found = (
        (NO_VIEW, not facts.view_position),
        (FOR_PROCESSING, facts.presentation_intent == "FOR PROCESSING"),
        (BURNED_IN, facts.burned_in_annotation == "YES"),
    )
    return tuple(sentence for sentence, applies in found if applies)


def _code(ds: Dataset, keyword: str) -> str:
    code = _text(ds, keyword)
    return code if CODE.fullmatch(code) else NO_CODE


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return "" if value is None else str(value).strip().upper()


def _view_of(ds: Dataset) -> str:
    stated = _code(ds, "ViewPosition")
    if stated or not ds.get("ViewCodeSequence"):
        return stated
    return VIEW_OF_CODE.get(_text(ds.ViewCodeSequence[0], "CodeValue"), "")
