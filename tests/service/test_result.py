"""From one image's bytes and probabilities to its answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import Manifest
from cxr.errors import ImageTooLargeError
from cxr.images.decoding import Preprocessing
from cxr.verdict.operating_point import OperatingPoint
from service.engines.protocol import OutputRow
from service.images.preparation import prepare_image
from service.models.loading import LoadedModel
from service.models.predictor import build_result
from tests.service.fake_engine import FakeEngine
from tests.service.make_bundle import MAX_PIXELS, MIN_SIDE_PX, SIZE_PX
from tests.service.make_images import make_jpeg, make_png

SPEC = Preprocessing(size_px=SIZE_PX, min_side_px=MIN_SIDE_PX)


@pytest.fixture
def model(bundles: Path) -> LoadedModel:
    """A model with three classes, the second of them positive."""
    content = json.loads((bundles / "cnn" / "manifest.json").read_text())
    content["task"]["classes"] = ["NORMAL", "PNEUMONIA", "OTHER"]
    content["referral"]["least_probability"] = {"NORMAL": 0.3, "PNEUMONIA": 0.45, "OTHER": 0.3}
    bundle = Bundle(bundles / "cnn", Manifest.model_validate(content), "0" * 64)
    return LoadedModel(bundle, FakeEngine(), bundle.rules())


@pytest.mark.parametrize(
    ("probabilities", "label", "decision"),
    [
        ((0.25, 0.5, 0.25), "PNEUMONIA", "positive"),
        ((0.25, 0.4375, 0.3125), "OTHER", "negative"),
        ((0.5, 0.4375, 0.0625), "NORMAL", "negative"),
        ((0.32, 0.36, 0.32), "NORMAL", "negative"),
        ((0.5, 0.46, 0.04), None, "refer"),
        ((0.35, 0.55, 0.1), None, "refer"),
        ((0.28, 0.44, 0.28), None, "refer"),
    ],
    ids=[
        "at the threshold",
        "below, another",
        "below, yet another",
        "two negative classes are left",
        "below, the positive class is left too",
        "above, another class is left too",
        "no class is left",
    ],
)
def test_label_is_what_the_decision_stands_for(
    model: LoadedModel, probabilities: tuple[float, ...], label: str | None, decision: str
) -> None:
    """The most probable class on the side of the decision; none where the model abstains."""
    point = OperatingPoint(name="half", threshold=0.5, sensitivity=1.0, specificity=1.0)
    image = prepare_image(make_png(), SPEC, MAX_PIXELS)
    numbers = np.array(probabilities, dtype=np.float32)
    row = OutputRow(np.log(numbers), numbers, numbers[:2])
    result = build_result("a", image, row, model, point)
    assert (result.id, result.label, result.decision) == ("a", label, decision)
    assert result.probability == pytest.approx(probabilities[1])
    assert list(result.probabilities.values()) == pytest.approx(list(probabilities))


def test_reduced_decoding_tells_the_size_of_the_source() -> None:
    """A JPEG decoded at a smaller scale is still reported as it was sent."""
    image = prepare_image(make_jpeg(width=512, height=400), SPEC, MAX_PIXELS)
    assert (image.facts.width, image.facts.height) == (512, 400)
    assert image.model_input.shape == (1, SIZE_PX, SIZE_PX)


def test_pixels_are_bounded() -> None:
    """The operator's limit holds for each image."""
    with pytest.raises(ImageTooLargeError):
        prepare_image(make_png(), SPEC, max_pixels=96 * 96 - 1)
    prepare_image(make_png(), SPEC, max_pixels=96 * 96)
