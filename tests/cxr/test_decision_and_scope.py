"""Decision rule and scope checks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cxr.decision import OperatingPoint, decide
from cxr.decoding import decode_image
from cxr.image import DecodedImage, DicomFacts
from cxr.scope import assess_scope
from export.phantom import draw_phantom, encode_dicom, encode_jpeg

POINT = OperatingPoint(name="balanced", threshold=0.4, sensitivity=0.9, specificity=0.9)
IMAGE = decode_image(encode_jpeg(draw_phantom(0)))


@pytest.mark.parametrize(
    ("probability", "in_scope", "expected"),
    [
        (0.4, True, "positive"),
        (0.399, True, "negative"),
        (1.0, True, "positive"),
        (1.0, False, "refer"),
        (0.0, False, "refer"),
    ],
)
def test_decision(probability: float, in_scope: bool, expected: str) -> None:
    """At or above the threshold is positive; out of scope is always referred."""
    assert decide(probability, POINT, in_scope=in_scope) == expected


def with_facts(**changes: str) -> DecodedImage:
    image = decode_image(encode_dicom(draw_phantom(0)))
    assert isinstance(image.dicom, DicomFacts)
    return replace(image, dicom=replace(image.dicom, **changes))


@pytest.mark.parametrize(
    ("image", "word"),
    [
        pytest.param(replace(IMAGE, pixels=np.full((99, 99), 7, np.uint8)), "blank", id="blank"),
        pytest.param(replace(IMAGE, chroma=80.0), "colour", id="colour"),
        pytest.param(replace(IMAGE, width=4000), "longer", id="strip"),
        pytest.param(with_facts(modality="CT"), "modality", id="modality"),
        pytest.param(with_facts(body_part="HAND"), "body part", id="body part"),
        pytest.param(with_facts(view_position="LL"), "lateral", id="lateral"),
    ],
)
def test_out_of_scope_has_a_reason(image: DecodedImage, word: str) -> None:
    """Each check alone puts an image out of scope and says why."""
    scope = assess_scope(image)
    assert not scope.in_scope
    assert len(scope.reasons) == 1
    assert word in scope.reasons[0]


@pytest.mark.parametrize("changes", [{}, {"modality": "", "body_part": "", "view_position": ""}])
def test_absent_tags_are_no_reason_for_doubt(changes: dict[str, str]) -> None:
    """A frontal chest radiograph, also one that tells nothing of itself, is in scope."""
    assert assess_scope(with_facts(**changes)).in_scope
