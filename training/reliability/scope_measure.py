"""Measure the scope gate on other pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.errors import DataError, InputError
from cxr.images.decoding import (
    SNIFF_BYTES,
    Preprocessing,
    decode_image,
    decode_options,
    sniff_format,
    to_model_input,
)
from cxr.pixels.image import DecodedImage
from cxr.verdict.reasons import Reason
from cxr.verdict.scope import (
    Judgement,
    ScopeFigure,
    ScopeGate,
    ScopeThresholds,
    assess_scope,
)
from training.reliability.scope_fit import Embed, Pixels, layouts_of
from training.report.bootstrap import estimate_mean

LABELS_NAME = "labels.csv"
"""May lie in a folder of pictures: columns ``file`` (relative) and ``patient``."""


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one kind, as the gate sees them.

    Attributes:
        pixels: Model inputs, (N, 1, S, S).
        layouts: Shape (N, LAYOUT_SIZE).
        embeddings: Shape (N, D).
        groups: Shape (N,), patients or files, resampled as wholes.
        refused: Number of unreadable files.
    """

    name: str
    frontal: bool
    pixels: Pixels
    layouts: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    groups: NDArray[np.str_]
    plain_reasons: tuple[tuple[Reason, ...], ...]
    refused: int = 0

    def take(self, chosen: NDArray[np.bool_]) -> PictureSet:
        """Return some of the pictures."""
        plain = tuple(r for r, keep in zip(self.plain_reasons, chosen, strict=True) if keep)
        return replace(
            self,
            pixels=self.pixels[chosen],
            layouts=self.layouts[chosen],
            embeddings=self.embeddings[chosen],
            groups=self.groups[chosen],
            plain_reasons=plain,
        )


def picture_set(
    name: str,
    pixels: Pixels,
    embeddings: NDArray[np.float32],
    *,
    frontal: bool,
    groups: Sequence[str] = (),
) -> PictureSet:
    """Describe pictures in memory; the plain checks see the model inputs."""
    reasons = [
        assess_scope(DecodedImage(p[0], "png", p.shape[2], p.shape[1], "")).reasons for p in pixels
    ]
    named = np.array(groups or [str(i) for i in range(len(pixels))])
    return PictureSet(name, frontal, pixels, layouts_of(pixels), embeddings, named, tuple(reasons))


def read_pictures(
    name: str, folder: Path, spec: Preprocessing, embed: Embed, *, frontal: bool
) -> PictureSet:
    """Read a folder's images as the service would; DataError if none is readable."""
    patients = _read_patients(folder)
    pixels, names, reasons, refused = [], [], [], 0
    for path in list_pictures(folder):
        data = path.read_bytes()
        try:
            image = decode_image(data, decode_options(spec))
            pixels.append(to_model_input(image.pixels, spec))
        except InputError:
            refused += 1
            continue
        relative = path.relative_to(folder).as_posix()
        names.append(patients.get(relative, relative))
        reasons.append(assess_scope(image).reasons)
    if not pixels:
        raise DataError(f"{folder} holds no JPEG, PNG or DICOM file that can be read.")
    stacked = np.stack(pixels)
    return PictureSet(
        name,
        frontal,
        stacked,
        layouts_of(stacked),
        embed(stacked),
        np.array(names),
        tuple(reasons),
        refused,
    )


def list_pictures(folder: Path) -> list[Path]:
    """List the image files of a folder, by content, sorted; DataError if there is none."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.")
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            if sniff_format(file.read(SNIFF_BYTES)) is not None:
                found.append(path)
    if not found:
        raise DataError(f"{folder} holds no JPEG, PNG or DICOM file.")
    return found


def _read_patients(folder: Path) -> dict[str, str]:
    path = folder / LABELS_NAME
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["file"]: row["patient"] for row in rows if {"file", "patient"} <= row.keys()}


def judge_all(
    pictures: PictureSet, gate: ScopeGate, thresholds: ScopeThresholds
) -> list[Judgement]:
    """Judge pictures as the service does, by plain checks and gate."""
    judged = []
    for layout, vector, plain in zip(
        pictures.layouts, pictures.embeddings, pictures.plain_reasons, strict=True
    ):
        found = gate.judge(layout, vector, thresholds)
        judged.append(Judgement((*plain, *found.reasons), found.population))
    return judged


def measure_scope(
    pictures: PictureSet, judged: Sequence[Judgement], populations: Sequence[str]
) -> ScopeFigure:
    """Summarise judgements; unreadable files count as flagged."""
    total = len(judged) + pictures.refused
    flagged = [bool(j.reasons) for j in judged] + [True] * pictures.refused
    places = [j.population for j in judged if not j.reasons]
    unread = [f"unread {i}" for i in range(pictures.refused)]
    return ScopeFigure(
        name=pictures.name,
        frontal=pictures.frontal,
        images=total,
        flagged=estimate_mean(flagged, np.array([*pictures.groups, *unread]), seed=0),
        refused=pictures.refused / total,
        belongs={name: places.count(i) / total for i, name in enumerate(populations)},
    )
