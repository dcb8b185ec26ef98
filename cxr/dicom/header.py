"""What a DICOM header tells of an image without telling anything of the patient."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from cxr.dicom.age import age_years_of
from cxr.dicom.body_part import is_chest
from cxr.dicom.projection import projection_of
from cxr.dicom.values import text_of
from cxr.pixels.image import DicomFacts

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
    """Return the technical codes of a header."""
    projection, code = projection_of(ds)
    return DicomFacts(
        modality=_code(ds, "Modality"),
        view_position=_code(ds, "ViewPosition") or code,
        projection=projection,
        body_part=_code(ds, "BodyPartExamined"),
        is_chest=is_chest(text_of(ds, "BodyPartExamined")),
        photometric_interpretation=_code(ds, "PhotometricInterpretation"),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        age_years=age_years_of(ds),
        presentation_intent=_code(ds, "PresentationIntentType"),
        burned_in_annotation=_code(ds, "BurnedInAnnotation"),
    )


def header_warnings(facts: DicomFacts) -> tuple[str, ...]:
    """Return the sentences for the sender to which a header gives cause."""
    found = (
        (NO_VIEW, facts.projection is None),
        (FOR_PROCESSING, facts.presentation_intent == "FOR PROCESSING"),
        (BURNED_IN, facts.burned_in_annotation == "YES"),
    )
    return tuple(sentence for sentence, applies in found if applies)


def _code(ds: Dataset, keyword: str) -> str:
    code = text_of(ds, keyword).upper()
    return code if CODE.fullmatch(code) else NO_CODE
