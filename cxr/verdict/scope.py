"""Is this picture the kind of image the model was made for?

Plain checks look at pixels and DICOM tags. The learnt scope gate judges

- the layout (:mod:`cxr.images.layout`), by a linear classifier, also turned and inverted;
- the network's embedding, by its Mahalanobis distance from the training images (Lee et al., "A
  Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018), the covariance
  shrunk (Ledoit, Wolf 2004);
- the layout again, for the population the picture belongs to: a linear classifier for each, and
  what the principal components of its layouts leave over, so that a picture may belong to none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cxr.errors import BundleError
from cxr.images.layout import LAYOUT_SIZE, Layout, turn_layout
from cxr.metrics.estimate import Estimate
from cxr.pixels.image import DecodedImage
from cxr.section import Section
from cxr.verdict.reasons import (
    BLANK,
    BODY_PART,
    COLOURED,
    ELONGATED,
    INVERTED,
    LATERAL,
    MODALITY,
    NOT_A_CHEST,
    TURNED,
    UNLIKE_TRAINING,
    Reason,
)

FRONTAL_MODALITIES = frozenset({"CR", "DX", "DR", "XR", "RF", "RG", "OT", "SC", ""})
"""Modalities under which archives really hold projection radiographs of the chest."""

MIN_CONTRAST = 8.0  # standard deviation in grey levels; the training set's lie between 19 and 88
CONTRAST_STRIDE = 4  # of rows and columns: the same figure in a tenth of the time
MAX_CHROMA = 12.0  # spread of the colour channels; grey radiographs in colour JPEG stay near 0
MAX_ASPECT = 3.0  # longer over shorter side; the training set's lie between 1 and 2


@dataclass(frozen=True)
class Scope:
    """Whether an image is in scope; if not, why."""

    in_scope: bool
    reasons: tuple[Reason, ...]


def assess_scope(image: DecodedImage) -> Scope:
    """Judge an image by pixels and DICOM tags; absent tags are no reason for doubt."""
    reasons = []
    if float(image.pixels[::CONTRAST_STRIDE, ::CONTRAST_STRIDE].std()) < MIN_CONTRAST:
        reasons.append(BLANK)
    if image.chroma > MAX_CHROMA:
        reasons.append(COLOURED)
    if max(image.width, image.height) > MAX_ASPECT * min(image.width, image.height):
        reasons.append(ELONGATED)
    facts = image.dicom
    if facts is not None:
        if facts.modality not in FRONTAL_MODALITIES:
            reasons.append(MODALITY)
        if not facts.is_chest:
            reasons.append(BODY_PART)
        if facts.projection == "lateral":
            reasons.append(LATERAL)
    return Scope(in_scope=not reasons, reasons=tuple(reasons))


class ScopeFigure(Section):
    """How the gate judged one set of pictures."""

    name: str
    frontal: bool = Field(description="Whether these are frontal chest radiographs.")
    images: int
    flagged: Estimate = Field(description="Share found out of scope.")
    refused: float = Field(description="Share that could not be read.")
    belongs: dict[str, float] = Field(
        description="Share taken to belong to each population; the rest belong to none."
    )


class PopulationLines(Section):
    """What a picture of one population keeps to, chosen on its validation patients."""

    score: float = Field(description="Least score of its classifier.")
    rest: float = Field(description="Largest squared rest of a layout.")


class ScopeThresholds(Section):
    """The gate's thresholds, chosen on validation patients."""

    layout: float = Field(description="Least score of a chest's layout.")
    embedding: float = Field(description="Largest squared distance of an embedding.")
    populations: tuple[PopulationLines, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Judgement:
    """Reasons to be out of scope, and the population by its place, None for none."""

    reasons: tuple[Reason, ...]
    population: int | None


@dataclass(frozen=True)
class ScopeGate:
    """The gate's numbers, float32.

    Attributes:
        layout_weights: Shape (LAYOUT_SIZE,).
        layout_bias: Shape (1,).
        population_weights: Shape (P, LAYOUT_SIZE), for P populations.
        population_bias: Shape (P,).
        population_mean: Shape (P, LAYOUT_SIZE).
        population_components: Shape (P, C, LAYOUT_SIZE), orthonormal rows.
        embedding_mean: Shape (D,).
        embedding_whitening: Shape (D, D).
    """

    layout_weights: NDArray[np.float32]
    layout_bias: NDArray[np.float32]
    population_weights: NDArray[np.float32]
    population_bias: NDArray[np.float32]
    population_mean: NDArray[np.float32]
    population_components: NDArray[np.float32]
    embedding_mean: NDArray[np.float32]
    embedding_whitening: NDArray[np.float32]

    def layout_scores(self, layouts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score layouts (N, LAYOUT_SIZE), above 0 for chests."""
        return layouts @ self.layout_weights + self.layout_bias

    def population_scores(self, layouts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score layouts (N, LAYOUT_SIZE) for each population: (N, P), above 0 for its own."""
        return np.asarray(layouts @ self.population_weights.T + self.population_bias)

    def population_rests(self, layouts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return squared residuals (N, P) of each population's components."""
        centred = layouts[:, np.newaxis] - self.population_mean
        along = np.einsum("npl,pcl->npc", centred, self.population_components)
        # The components are orthonormal: Pythagoras saves projecting back.
        return np.asarray((centred**2).sum(axis=2) - (along**2).sum(axis=2))

    def population_of(self, layout: Layout, thresholds: ScopeThresholds) -> int | None:
        """Return the place of the population a layout belongs to, None for none."""
        scores, rests = (
            self.population_scores(layout[None])[0],
            self.population_rests(layout[None])[0],
        )
        lines = thresholds.populations
        fits = [
            (score - line.score, place)
            for place, (score, rest, line) in enumerate(zip(scores, rests, lines, strict=True))
            if score >= line.score and rest <= line.rest
        ]
        return max(fits)[1] if fits else None

    def embedding_distances(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return squared Mahalanobis distances (N,)."""
        white = (embeddings - self.embedding_mean) @ self.embedding_whitening
        return np.asarray((white**2).sum(axis=1))

    def judge(
        self, layout: Layout, embedding: NDArray[np.float32], thresholds: ScopeThresholds
    ) -> Judgement:
        """Judge a layout and an embedding (D,), in a tenth of a millisecond."""
        inverted = turn_layout(layout, 0, inverted=True)
        score, when_inverted = self.layout_scores(np.stack([layout, inverted]))
        if when_inverted > max(score, thresholds.layout):
            return Judgement((INVERTED,), None)
        if not score >= thresholds.layout:
            turned = np.stack([turn_layout(layout, n, inverted=False) for n in TURNED])
            scores = self.layout_scores(turned)
            best = int(scores.argmax())
            is_turned = scores[best] >= thresholds.layout
            return Judgement((TURNED[best + 1] if is_turned else NOT_A_CHEST,), None)
        if self.embedding_distances(embedding[None])[0] > thresholds.embedding:
            return Judgement((UNLIKE_TRAINING,), None)
        return Judgement((), self.population_of(layout, thresholds))

    def save(self, path: Path) -> None:
        """Write the numbers as a safetensors file."""
        save_file({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}, path)
        path.chmod(0o644)  # safetensors makes it private


def load_scope_gate(path: Path, embedding_size: int, count: int) -> ScopeGate:
    """Read a saved gate of ``count`` populations.

    Raises:
        BundleError: It is damaged, or was made for another network or other populations.
    """
    try:
        gate = ScopeGate(**load_file(path))
    except (SafetensorError, OSError, TypeError):
        raise BundleError(f"{path.name} does not hold a scope gate, or is damaged.") from None
    components = gate.population_components.shape[1:2]
    expected = {
        "layout_weights": (LAYOUT_SIZE,),
        "layout_bias": (1,),
        "population_weights": (count, LAYOUT_SIZE),
        "population_bias": (count,),
        "population_mean": (count, LAYOUT_SIZE),
        "population_components": (count, *components, LAYOUT_SIZE),
        "embedding_mean": (embedding_size,),
        "embedding_whitening": (embedding_size, embedding_size),
    }
    for name, shape in expected.items():
        if getattr(gate, name).shape != shape:
            raise BundleError(
                f"{path.name} was made for another network or other populations: {name} is not "
                f"{shape}."
            )
        if not np.isfinite(getattr(gate, name)).all():
            raise BundleError(f"{path.name} is damaged: {name} holds what is no number.")
    return gate
