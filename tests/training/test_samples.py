"""Samples in memory, with broken files among them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cxr.data.dataset import list_split
from cxr.data.labels import PNEUMONIA
from cxr.errors import DataError
from cxr.images.decoding import Preprocessing
from tests.conftest import make_kaggle_layout
from training.data.samples import load_samples

SPEC = Preprocessing(size_px=32, min_side_px=16)


def test_broken_images_are_named_counted_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One broken file among 48 is no reason to stop."""
    data = make_kaggle_layout(tmp_path, patients=12)
    broken = data / "train" / "NORMAL" / "IM-0003-0000.jpeg"
    broken.write_bytes(broken.read_bytes()[:500])
    with caplog.at_level(logging.WARNING):
        samples = load_samples(list_split(data, "train", PNEUMONIA), SPEC, PNEUMONIA, quiet=True)
    assert len(samples) == 47
    assert "left out train/NORMAL/IM-0003-0000.jpeg" in caplog.text
    assert "1 of 48 images are unreadable" in caplog.text


def test_many_broken_images_are_fatal(tmp_path: Path) -> None:
    """A broken copy of the data set is not trained on."""
    data = make_kaggle_layout(tmp_path, patients=4)
    for path in (data / "train" / "NORMAL").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="8 of 16 images are unreadable, the first is"):
        load_samples(list_split(data, "train", PNEUMONIA), SPEC, PNEUMONIA, quiet=True)


def test_digest_depends_on_content_not_on_order(toy_data: Path) -> None:
    """The data digest of a run identifies what was trained on."""
    images = list_split(toy_data, "train", PNEUMONIA)
    whole = load_samples(images, SPEC, PNEUMONIA, quiet=True).data_digest()
    assert load_samples(images[::-1], SPEC, PNEUMONIA, quiet=True).data_digest() == whole
    assert load_samples(images[1:], SPEC, PNEUMONIA, quiet=True).data_digest() != whole
