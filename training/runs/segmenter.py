"""Train the lung segmenter on radiographs with masks."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from cxr.errors import DataError
from cxr.files import new_directory
from cxr.images.decoding import Preprocessing, decode_image, decode_options, to_model_input
from cxr.networks.weights import save_weights
from training.data.samples import map_over_images
from training.device import Compute
from training.fit.augment import Augmenter
from training.fit.segmenter import (
    SEGMENTER_NAME,
    SIDE_PX,
    LungSegmenter,
    find_lungs,
    shrunk,
)
from training.recipe import Augmentation
from training.runs.provenance import code_revision, versions

log = logging.getLogger(__name__)

ABOUT_NAME = "lungs.json"
HELD_OUT = 10  # one image in so many is measured on
BATCH = 32
LEARNING_RATE = 2e-3
SPEC = Preprocessing(size_px=224, min_side_px=64)

CHANGES = Augmentation(
    rotate_deg=15,
    scale=1.35,
    aspect=1.35,
    shift=0.12,
    mirror_p=0.5,
    sharpness=1.0,
    gamma=1.7,
    contrast=1.5,
    brightness=0.15,
    noise=0.05,
    border=0.1,
    border_p=0.3,
    cutout=0.35,
    cutout_p=0.5,
    marks_p=0.2,
)
"""Wide, because the lungs to be found are also those of smaller patients and other devices; a
cut-out hides part of a lung, as an opacity does."""


@dataclass(frozen=True)
class LungSegmentation:
    """Model inputs (N, 1, 224, 224) with masks (N, 1, 112, 112), both uint8."""

    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8]


def read_masks(table: Path, quiet: bool = False) -> LungSegmentation:
    """Read the rows of a CSV file that name a ``lung_mask`` beside a ``file``.

    Raises:
        DataError: There is none, or a file is missing.
    """
    if not table.is_file():
        raise DataError(f"No file {table}.")
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.DictReader(file) if row.get("lung_mask") and row.get("file")]
    if len(rows) < 2 * HELD_OUT:
        raise DataError(f"{table} needs the columns file and lung_mask, and {2 * HELD_OUT} images.")

    def read(row: dict[str, str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        try:
            decoded = decode_image((table.parent / row["file"]).read_bytes(), decode_options(SPEC))
            mask = Image.open(table.parent / row["lung_mask"]).convert("L")
        except FileNotFoundError as error:
            raise DataError(f"{table} lists {error.filename}, which does not exist.") from None
        resized = mask.resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        return to_model_input(decoded.pixels, SPEC), np.asarray(resized)[np.newaxis]

    pixels, masks = zip(*map_over_images(read, rows, 2, quiet), strict=True)
    return LungSegmentation(np.stack(pixels), np.stack(masks))


def train_segmenter(
    table: Path, out: Path, compute: Compute, *, epochs: int, seed: int, quiet: bool
) -> float:
    """Train on the rows with masks and write the segmenter; return Dice's coefficient.

    It is the mean over the images held out, every tenth.

    Raises:
        DataError: The images are unusable.
        OutputError: Something else stands at ``out``.
    """
    data = read_masks(table, quiet)
    images, masks = shrunk(data.pixels), torch.from_numpy(data.masks).float().div_(255.0)
    held = np.arange(len(images)) % HELD_OUT == 0
    learnt = np.flatnonzero(~held)
    torch.manual_seed(seed)
    network = compute.place(LungSegmenter())
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    batch = min(BATCH, len(learnt) // 8)
    steps = len(learnt) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=epochs * steps
    )
    augmenter = Augmenter(CHANGES, torch.Generator().manual_seed(seed))
    for epoch in tqdm(range(epochs), "lung segmenter", disable=quiet):
        network.train()
        order = np.random.default_rng((seed, epoch)).permutation(learnt)
        for step in range(steps):
            chosen = order[step * batch : (step + 1) * batch]
            changed, truth = augmenter.with_masks(images[chosen], masks[chosen])
            with compute.autocast():
                logits = network(compute.put(changed))
            loss = segmentation_loss(logits.float(), truth.to(logits.device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network = network.cpu().eval()
    found = find_lungs(network, data.pixels[held])
    dice = float(np.mean(dice_of(found > 0, data.masks[held] > 127)))
    with new_directory(out, ABOUT_NAME) as directory:
        save_weights(network, directory / SEGMENTER_NAME, torch.float16)
        about = {
            "images": len(learnt),
            "held_out": int(held.sum()),
            "dice": round(dice, 4),
            "epochs": epochs,
            "seed": seed,
            "code_revision": code_revision(),
            "versions": versions(compute),
        }
        (directory / ABOUT_NAME).write_text(json.dumps(about, indent=2) + "\n")
    return dice


def segmentation_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy plus one less Dice's coefficient, for (N, 1, S, S)."""
    given = logits.sigmoid()
    both = (given * truth).sum(dim=(2, 3))
    dice = (2.0 * both + 1.0) / ((given + truth).sum(dim=(2, 3)) + 1.0)
    return F.binary_cross_entropy_with_logits(logits, truth) + (1.0 - dice).mean()


def dice_of(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return Dice's coefficient of pairs of masks (N, 1, S, S): (N,), 1 if both are empty."""
    both = (one & other).sum(axis=(1, 2, 3))
    total = one.sum(axis=(1, 2, 3)) + other.sum(axis=(1, 2, 3))
    return np.divide(2.0 * both, total, out=np.ones(len(one)), where=total > 0)
