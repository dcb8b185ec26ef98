"""Decision rule and scope checks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cxr.images.decoding import decode_image
from cxr.pixels.image import DecodedImage, DicomFacts
from cxr.verdict.decision import decide
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.scope import assess_scope
from export.phantom import draw_phantom, encode_dicom, encode_jpeg

POINT = OperatingPoint(name="balanced", threshold=0.4, sensitivity=0.9, specificity=0.9)
IMAGE = decode_image(encode_jpeg(draw_phantom(0)))


@pytest.mark.parametrize(
    ("probability", "chosen", "in_scope", "expected"),
    [
        (0.4, "P", True, "positive"),
        (0.399, "N", True, "negative"),
        (1.0, "P", False, "refer"),
        (0.0, "N", False, "refer"),
        (0.5, "PN", True, "refer"),
        (0.3, "PN", True, "refer"),
        (0.5, "", True, "refer"),
        (0.3, "", True, "refer"),
        (0.5, "N", True, "refer"),
        (0.3, "P", True, "refer"),
        (0.3, "NO", True, "negative"),
        (0.5, "PQ", True, "positive"),
        (0.5, "Q", True, "positive"),
        (0.3, "NQ", True, "refer"),
    ],
)
def test_decision(probability: float, chosen: str, in_scope: bool, expected: str) -> None:
    """Decided is what threshold and prediction set agree on, in scope; all else is referred."""
    decision = decide(
        probability, POINT, positives=("P", "Q"), prediction_set=chosen, in_scope=in_scope
    )
    assert decision == expected


@pytest.mark.parametrize(
    ("threshold", "probability", "expected"),
    [
        (0.0, 0.0, "positive"),
        (0.0, 1.0, "positive"),
        (1.0, 0.999999, "negative"),
        (1.0, 1.0, "positive"),
    ],
)
def test_threshold_at_the_ends(threshold: float, probability: float, expected: str) -> None:
    """From the threshold on an image is positive: at 0 every one, at 1 only a certain one."""
    point = POINT.model_copy(update={"threshold": threshold})
    chosen = "P" if expected == "positive" else "N"
    decision = decide(probability, point, positives=("P",), prediction_set=chosen, in_scope=True)
    assert decision == expected


@pytest.mark.parametrize("field", ["threshold", "sensitivity", "specificity"])
@pytest.mark.parametrize("value", [-0.001, 1.001, float("nan")])
def test_operating_point_out_of_range_is_rejected(field: str, value: float) -> None:
    """All three are shares."""
    with pytest.raises(ValidationError, match=field):
        OperatingPoint.model_validate(POINT.model_dump() | {field: value})
    assert OperatingPoint.model_validate(POINT.model_dump() | {field: 0.0})
    assert OperatingPoint.model_validate(POINT.model_dump() | {field: 1.0})


def with_facts(**changes: Any) -> DecodedImage:
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
        pytest.param(with_facts(is_chest=False), "body part", id="body part"),
        pytest.param(with_facts(projection="lateral"), "lateral", id="lateral"),
    ],
)
def test_out_of_scope_has_a_reason(image: DecodedImage, word: str) -> None:
    """Each check alone puts an image out of scope and says why."""
    scope = assess_scope(image)
    assert not scope.in_scope
    assert len(scope.reasons) == 1
    assert word in scope.reasons[0].text


@pytest.mark.parametrize("changes", [{}, {"modality": "", "body_part": "", "view_position": ""}])
def test_absent_tags_are_no_reason_for_doubt(changes: dict[str, str]) -> None:
    """A frontal chest radiograph, also one that tells nothing of itself, is in scope."""
    assert assess_scope(with_facts(**changes)).in_scope
