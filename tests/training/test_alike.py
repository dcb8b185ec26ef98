"""Near-duplicates, edges and intervals: each part of the page by itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn.metrics import roc_auc_score

from cxr.data.dataset import patient_of
from cxr.images.decoding import Preprocessing, to_model_input
from export.phantom import draw_phantom
from tests.training.make_radiograph import make_radiograph
from training.explore.alike import exact_groups, near_pairs
from training.explore.edges import find_edges
from training.report.bootstrap import estimate_auroc


def thumbnail(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((64, 64), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def phantoms() -> list[Image.Image]:
    return [Image.fromarray(make_radiograph(seed, seed % 2)) for seed in range(24)]


def recompressed(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": recompressed,
    "smaller": lambda picture: picture.resize((120, 96), Image.Resampling.BILINEAR),
    "contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.7),
    "gamma": lambda picture: picture.point([round(255 * (v / 255) ** 1.3) for v in range(256)]),
    "mirrored": ImageOps.mirror,
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copy_is_found_and_different_phantoms_are_not(
    phantoms: list[Image.Image], change: str
) -> None:
    """Of 24 phantoms and a changed copy of one, the pair is those two."""
    pictures = [*phantoms, CHANGES[change](phantoms[5])]
    digests = np.array([str(n) for n in range(len(pictures))])
    (pair,) = near_pairs(np.stack([thumbnail(one) for one in pictures]), digests)
    assert (pair.first, pair.second) == (5, 24)
    assert pair.mirrored == (change == "mirrored")


def test_exact_duplicates_are_told_once(phantoms: list[Image.Image]) -> None:
    """They are a group, and no near pair; even pictures are not all alike."""
    thumbnails = np.stack([thumbnail(phantoms[0])] * 3 + [np.full((64, 64), 7, np.uint8)] * 2)
    digests = np.array(["a", "a", "a", "b", "c"])
    assert exact_groups(digests) == [[0, 1, 2]]
    assert near_pairs(thumbnails, digests) == []


def test_edges_of_a_square_are_its_outline() -> None:
    """One pixel wide, closed, at its rim; an even picture has none."""
    image = np.full((60, 60), 40, np.uint8)
    assert not find_edges(image).any()
    image[20:40, 20:40] = 200
    edges = find_edges(image)
    rows, columns = np.nonzero(edges)
    assert 60 <= edges.sum() <= 80
    assert rows.min() in (19, 20)
    assert rows.max() in (39, 40)
    assert np.all((np.abs(rows - 29.5) > 7) | (np.abs(columns - 29.5) > 7))


def test_auroc_is_that_of_scikit_learn_and_its_interval_covers_it() -> None:
    """Ties count half; patients with several images widen the interval."""
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.random(100) < 0.4, 4)
    values = np.round(truth + np.repeat(rng.normal(0, 1.5, 100), 4), 1)
    alone = estimate_auroc(truth, values, np.arange(400).astype(str), 0)
    joined = estimate_auroc(truth, values, np.repeat(np.arange(100), 4).astype(str), 0)
    assert alone.value == joined.value == pytest.approx(roc_auc_score(truth, values))
    assert None not in (alone.low, alone.high, joined.low, joined.high)
    assert joined.low < alone.low < alone.value < alone.high < joined.high  # type: ignore[operator]
    assert estimate_auroc(np.ones(4, bool), np.ones(4), np.array(list("abcd")), 0).value is None


def test_real_radiographs_are_told_from_copies(shared_data: Path) -> None:
    """Of 400 patients no two are taken for copies; of 40 changed copies each, all are found."""
    by_patient = {
        patient_of(path.name): path
        for path in sorted((shared_data / "chest_xray/train/PNEUMONIA").iterdir())
    }
    pictures = [Image.open(path).convert("L") for path in list(by_patient.values())[:400]]
    copies = [CHANGES[name](one) for name in CHANGES for one in pictures[:40]]
    thumbnails = np.stack([thumbnail(one) for one in [*pictures, *copies]])
    pairs = near_pairs(thumbnails, np.arange(len(thumbnails)).astype(str))
    found = {pair.second for pair in pairs if pair.first < 40 <= 400 <= pair.second}
    assert not [pair for pair in pairs if pair.second < 400]
    assert found == set(range(400, 400 + len(copies)))
    assert all(
        pair.first == (pair.second - 400) % 40 for pair in pairs if pair.first < 400 <= pair.second
    )


def test_thumbnail_does_not_depend_on_the_files_size() -> None:
    """The 64 px copy of a large image is near that of the same image made small before."""
    image = draw_phantom(1)
    once = to_model_input(image, Preprocessing(size_px=224, min_side_px=32))[0]
    stacked = np.stack([thumbnail(Image.fromarray(one)) for one in (image, once)])
    assert near_pairs(stacked, np.array(["a", "b"]))[0].correlation > 0.98
