"""The lung segmenter: that it learns, that it cleans up, and what the heat inside is worth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.data.labels import PNEUMONIA
from cxr.errors import RunError
from training.__main__ import main
from training.data.samples import Samples
from training.fit.segmenter import SIDE_PX, _lungs_only, find_lungs, load_segmenter
from training.heatmaps.dependence import measure_dependence, median_of
from training.heatmaps.lung_share import measure_lung_share, measure_pointing

SHIPPED = Path("models/lungs")


def draw_lungs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two dark ellipses on a bright body, and where they are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX - 0.5
    mask = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    for side in (-1, 1):
        centre, width = side * rng.uniform(0.17, 0.22), rng.uniform(0.1, 0.14)
        mask |= ((x - centre) / width) ** 2 + (y / rng.uniform(0.25, 0.33)) ** 2 < 1
    grey = np.where(mask, 60.0, 170.0) + rng.normal(0, 8, mask.shape)
    return grey.clip(0, 255).astype(np.uint8), mask


def test_segmenter_learns_lungs(tmp_path: Path) -> None:
    """The command reads masks, learns, and finds lungs it has not seen."""
    rows = []
    for i in range(70):
        grey, mask = draw_lungs(i)
        Image.fromarray(grey).save(tmp_path / f"{i}.png")
        Image.fromarray(255 * mask.astype(np.uint8)).save(tmp_path / f"{i}-mask.png")
        rows.append({"file": f"{i}.png", "lung_mask": f"{i}-mask.png" if i else ""})
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    arguments = ["lungs", "--csv", str(tmp_path / "index.csv"), "--out", str(tmp_path / "made")]
    assert main([*arguments, "--epochs", "14", "--device", "cpu", "--quiet"]) == 0
    about = json.loads((tmp_path / "made" / "lungs.json").read_text())
    assert about["dice"] > 0.7
    assert about["images"] + about["held_out"] == 69
    pixels = np.stack([draw_lungs(i)[0] for i in range(500, 505)])[:, np.newaxis]
    found = find_lungs(load_segmenter(tmp_path / "made"), pixels)
    assert found.shape == pixels.shape
    assert set(np.unique(found)) <= {0, 255}


def test_shipped_segmenter_finds_lungs_of_adults(shared_data: Path) -> None:
    """Of another data set than it learnt from: Dice's coefficient of at least 0.9."""
    folder = shared_data / "adults" / "localisation"
    files = sorted((folder / "images").iterdir())[:24]
    images = [Image.open(file).convert("L").resize((224, 224)) for file in files]
    pixels = np.stack([np.asarray(image) for image in images])[:, np.newaxis]
    side = (SIDE_PX, SIDE_PX)
    masks = [Image.open(folder / "lung_masks" / f"{file.stem}.png") for file in files]
    truth = np.stack([np.asarray(m.convert("L").resize(side, 0)) > 127 for m in masks])
    found = find_lungs(load_segmenter(SHIPPED), pixels)[:, 0] > 0
    dice = 2 * (found & truth).sum(axis=(1, 2)) / (found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))
    assert dice.mean() > 0.9


def test_two_largest_parts_are_kept_without_holes() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[5:30, 3:12] = mask[5:30, 25:36] = True
    mask[10:12, 5:7] = False
    mask[35:38, 18:20] = True
    found = _lungs_only(mask)
    assert found[11, 6]
    assert not found[36, 19]
    assert found[6, 30]
    assert not _lungs_only(np.zeros((8, 8), dtype=bool)).any()


def test_missing_segmenter_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="python -m training lungs"):
        load_segmenter(tmp_path)


def fields_and_maps(inside: bool) -> tuple[np.ndarray, np.ndarray]:
    fields = np.zeros((6, SIDE_PX, SIDE_PX), dtype=bool)
    fields[:, : SIDE_PX // 2] = True
    maps = np.zeros((6, 4, 4), dtype=np.float32)
    maps[:, slice(0, 1) if inside else slice(3, 4)] = 1.0
    return fields, maps


@pytest.mark.parametrize("inside", [True, False])
def test_heat_and_peaks_are_told_apart(inside: bool) -> None:
    fields, maps = fields_and_maps(inside)
    names = np.arange(6).astype(str)
    found = measure_lung_share(maps, fields, names, seed=0)
    assert found.peaks_outside.value == (0.0 if inside else 1.0)
    assert found.favours_lungs() == inside
    game = measure_pointing(maps, fields, np.arange(6) < 3, seed=0)
    assert game.hits.value == game.hits_called.value == (1.0 if inside else 0.0)
    assert game.by_chance.value == pytest.approx(0.5)


@pytest.mark.parametrize("looks", ["lungs", "border"])
def test_dependence_tells_where_a_network_looks(looks: str) -> None:
    """One that reads the lungs needs nothing else; one that reads the border needs no lungs."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    pixels = rng.integers(90, 110, (40, 1, SIDE_PX, SIDE_PX)).astype(np.uint8)
    lungs = np.zeros((40, 1, SIDE_PX, SIDE_PX), np.uint8)
    lungs[..., 30:80, 30:80] = 255
    pixels[..., 30:80, 30:80] += (40 * labels).astype(np.uint8)[:, None, None, None]
    pixels[..., :8, :8] += (40 * labels).astype(np.uint8)[:, None, None, None]
    names = np.arange(40).astype(str)
    samples = Samples(pixels, labels, names, names, names, names)

    def scorer(images: np.ndarray) -> np.ndarray:
        part = images[..., 35:75, 35:75] if looks == "lungs" else images[..., :8, :8]
        return np.asarray(((part.mean(axis=(1, 2, 3)) - 100) / 40).clip(0, 1))

    found = measure_dependence(samples, lungs, scorer, 0.5, PNEUMONIA, seed=0)
    assert found.auroc.value == 1.0
    if looks == "lungs":
        assert found.kept_without_outside.value == 1.0
        assert found.change_without_outside.value == pytest.approx(0.0, abs=0.01)
        assert found.auroc_of_borders.value == pytest.approx(0.5)
        assert found.auroc_without_lungs.value is not None
        assert found.auroc_without_lungs.value < 0.75
    else:
        assert found.kept_without_outside.value == pytest.approx(0.5)
        assert found.auroc_of_borders.value == 1.0
        assert found.auroc_without_lungs.value == 1.0


def test_median_is_that_of_patients_resampled() -> None:
    values = np.array([0.0, 0.1, 0.2, 0.3, 5.0])
    found = median_of(values, np.arange(5).astype(str), seed=0)
    assert found.value == 0.2
    assert found.low is not None
    assert found.low <= 0.2
