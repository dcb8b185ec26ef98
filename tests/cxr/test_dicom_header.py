"""What a DICOM header leads to: warnings and reasons to be out of scope."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxr.dicom.age import NOT_READ
from cxr.dicom.header import BURNED_IN, FOR_PROCESSING, NO_VIEW
from cxr.images.decoding import decode_image
from cxr.verdict.scope import assess_scope
from export.phantom import draw_phantom
from tests.cxr.dicom_encodings import Edit, edited

PHANTOM = draw_phantom(5)


def with_attribute(**attributes: object) -> Edit:
    """Set attributes."""

    def edit(ds: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)

    return edit


def with_view_code(value: str) -> Edit:
    """Name the view by a code only."""

    def edit(ds: Dataset) -> None:
        ds.ViewPosition = ""
        item = Dataset()
        item.CodeValue = value
        ds.ViewCodeSequence = Sequence([item])

    return edit


@pytest.mark.parametrize(
    ("edit", "warnings"),
    [
        (with_attribute(), ()),
        (with_attribute(ViewPosition=None), (NO_VIEW,)),
        (with_attribute(PresentationIntentType="FOR PROCESSING"), (FOR_PROCESSING,)),
        (with_attribute(PresentationIntentType="FOR PRESENTATION"), ()),
        (with_attribute(BurnedInAnnotation="YES"), (BURNED_IN,)),
        (with_attribute(BurnedInAnnotation="NO"), ()),
        (with_attribute(PatientAge="five"), (NOT_READ,)),
        (with_view_code("R-10214"), ()),
    ],
    ids=["plain", "view", "processing", "presentation", "burned", "unburned", "age", "view code"],
)
def test_header_warns(edit: Edit, warnings: tuple[str, ...]) -> None:
    """Of what makes the probability less reliable, and of nothing else."""
    assert decode_image(edited(PHANTOM, edit)).warnings == warnings


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (with_attribute(Modality="CT"), "modality"),
        (with_attribute(BodyPartExamined="HIP"), "body part"),
        (with_attribute(ViewPosition="LL"), "lateral"),
        (with_view_code("399198007"), "lateral"),
    ],
    ids=["modality", "body part", "view", "view code"],
)
def test_header_puts_out_of_scope(edit: Edit, reason: str) -> None:
    """Each gate gives its own reason."""
    (found,) = assess_scope(decode_image(edited(PHANTOM, edit))).reasons
    assert reason in found.text
