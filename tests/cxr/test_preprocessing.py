"""The one resize."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cxr.errors import ImageOutOfScopeError
from cxr.images.decoding import Preprocessing, decode_image, to_model_input
from export.phantom import draw_phantom

SPEC = Preprocessing(size_px=224, min_side_px=64)


def test_shape_and_type() -> None:
    """Any size becomes one channel of the model's size."""
    model_input = to_model_input(draw_phantom(0), SPEC)
    assert model_input.shape == (1, 224, 224)
    assert model_input.dtype == np.uint8


def test_image_of_the_right_size_is_unchanged() -> None:
    """No resampling where none is needed, so prepared data sets stay as they are."""
    image = draw_phantom(0)[:224, :224]
    assert np.array_equal(to_model_input(image, SPEC)[0], image)


def test_resize_averages_and_does_not_sample() -> None:
    """A fine chessboard becomes grey: the resize is antialiased."""
    chessboard = (np.indices((896, 896)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(to_model_input(chessboard, SPEC).astype(int) - 127).max() <= 2


def test_thumbnail_is_out_of_scope() -> None:
    """A side under the minimum is refused with its size."""
    with pytest.raises(ImageOutOfScopeError, match="300 x 63 pixels"):
        to_model_input(np.zeros((63, 300), np.uint8), SPEC)


def test_originals_become_what_the_prepared_data_set_holds(shared_data: Path) -> None:
    """An original file, decoded and resized here, is the 224 px file trained on."""
    for original in sorted((shared_data / "originals").rglob("*.jpeg"))[::10]:
        label = original.parent.name
        prepared = shared_data / "chest_xray" / "train" / label / original.name
        given = to_model_input(decode_image(original.read_bytes()).pixels, SPEC).astype(int)
        expected = to_model_input(decode_image(prepared.read_bytes()).pixels, SPEC)
        assert np.abs(given - expected).mean() < 4.0


def test_specification_of_a_model_cannot_be_changed() -> None:
    """It is shared by all requests of the model."""
    with pytest.raises(ValidationError, match="frozen"):
        Preprocessing(size_px=64, min_side_px=32).size_px = 32  # type: ignore[misc]
