"""Codes in results: DICOM, and its use of SNOMED CT and UCUM (PS3.16)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pydicom.dataset import Dataset

from cxr.verdict.operating_point import Decision


class Concept(NamedTuple):
    """A coded concept, in the order of pydicom's ``Code``."""

    value: str
    scheme_designator: str
    meaning: str


PNEUMONIA = Concept("233604007", "SCT", "Pneumonia")
CHEST_XRAY = Concept("399208008", "SCT", "Plain chest X-ray")
PRESENT = Concept("52101004", "SCT", "Present")
ABSENT = Concept("272519000", "SCT", "Absent")
UNDETERMINED = Concept("373068000", "SCT", "Undetermined")
PROBABILITY = Concept("122157", "DCM", "Probability")
THRESHOLD = Concept("122411", "DCM", "Threshold Value")
UNITY = Concept("1", "UCUM", "no units")
COMMENT = Concept("121106", "DCM", "Comment")
ARTIFICIAL_INTELLIGENCE = Concept("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Concept("109102", "DCM", "Processing Equipment")
SOURCE_IMAGE = Concept("121322", "DCM", "Source image for image processing operation")
GRAD_CAM = Concept("130403", "DCM", "Gradient-weighted class activation")

BACTERIAL_PNEUMONIA = Concept("53084003", "SCT", "Bacterial pneumonia")

FINDINGS: Mapping[str, Concept] = {"PNEUMONIA": PNEUMONIA, "BACTERIAL": BACTERIAL_PNEUMONIA}
"""Codes of the findings that have one."""

PRESENCE: Mapping[Decision, Concept] = {
    "positive": PRESENT,
    "negative": ABSENT,
    "refer": UNDETERMINED,
}


def code_item(concept: Concept) -> Dataset:
    """Build a code sequence item (PS3.3, 8.8)."""
    item = Dataset()
    item.CodeValue = concept.value
    item.CodingSchemeDesignator = concept.scheme_designator
    item.CodeMeaning = concept.meaning
    return item
