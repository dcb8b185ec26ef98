"""Is this picture the kind of image the model was made for?

Plain checks look at pixels and DICOM tags. The learnt scope gate judges

- the layout (:mod:`cxr.images.layout`), by a linear classifier, also turned and inverted;
- the network's embedding, by its Mahalanobis distance from the training images (Lee et al., "A
  Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018), the covariance
  shrunk (Ledoit, Wolf 2004);
- what the principal components of the training layouts leave over, for a warning about unusual
  pictures: an adult's, for a model trained on children.
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
from cxr.pixels.image import DecodedImage, DicomFacts
from cxr.section import Section

FRONTAL_MODALITIES = frozenset({"CR", "DX", "DR", "XR", "RF", "RG", "OT", "SC", ""})
"""Modalities under which archives really hold projection radiographs of the chest."""

MIN_CONTRAST = 8.0  # standard deviation in grey levels; the training set's lie between 19 and 88
CONTRAST_STRIDE = 4  # of rows and columns: the same figure in a tenth of the time
MAX_CHROMA = 12.0  # spread of the colour channels; grey radiographs in colour JPEG stay near 0
MAX_ASPECT = 3.0  # longer over shorter side; the training set's lie between 1 and 2

BLANK = "The image is blank or almost without contrast."
COLOURED = "The image is in colour; radiographs are grey."
LATERAL = "The DICOM view position is lateral; the model reads frontal views."
NOT_A_CHEST = "The picture does not look like a frontal chest radiograph."
UNLIKE_TRAINING = "The network finds nothing in the picture that is like its training images."
INVERTED = "The picture looks inverted: bone should be bright. Send it as it was stored."
TURNED = {
    1: "The picture looks as if it lay on its side. Send it upright.",
    2: "The picture looks as if it stood upside down. Send it upright.",
    3: "The picture looks as if it lay on its side. Send it upright.",
}
UNUSUAL = (
    "The picture differs from the model's training images (by age, position or equipment, "
    "perhaps); its probability is less reliable."
)


@dataclass(frozen=True)
class Scope:
    """Whether an image is in scope; if not, why, in sentences."""

    in_scope: bool
    reasons: tuple[str, ...]


def assess_scope(image: DecodedImage) -> Scope:
    """Judge an image by pixels and DICOM tags; absent tags are no reason for doubt."""
    reasons = []
    if float(image.pixels[::CONTRAST_STRIDE, ::CONTRAST_STRIDE].std()) < MIN_CONTRAST:
        reasons.append(BLANK)
    if image.chroma > MAX_CHROMA:
        reasons.append(COLOURED)
    if max(image.width, image.height) > MAX_ASPECT * min(image.width, image.height):
        reasons.append("The image is far longer than wide; a chest radiograph is not.")
    facts = image.dicom
    if facts is not None:
        if facts.modality not in FRONTAL_MODALITIES:
            reasons.append("The DICOM modality is not a projection radiograph's.")
        if not facts.is_chest:
            reasons.append("The DICOM body part is not the chest.")
        if facts.projection == "lateral":
            reasons.append(LATERAL)
    return Scope(in_scope=not reasons, reasons=tuple(reasons))


def age_warnings(facts: DicomFacts, ages_years: tuple[float, float] | None) -> tuple[str, ...]:
    """Warn of an age outside that of the patients trained on.

    A five-year-old has not had the sixth birthday, so the upper end is inclusive.
    """
    if facts.age_years is None or ages_years is None:
        return ()
    youngest, oldest = ages_years
    if youngest <= facts.age_years < oldest + 1:
        return ()
    return (
        f"The patient's age is outside the range the model was trained on ({youngest:g} to "
        f"{oldest:g} years); its probability is less reliable.",
    )


class ScopeFigure(Section):
    """How the gate judged one set of pictures."""

    name: str
    frontal: bool = Field(description="Whether these are frontal chest radiographs.")
    images: int
    flagged: Estimate = Field(description="Share found out of scope.")
    refused: float = Field(description="Share that could not be read.")
    unusual: float = Field(description="Share in scope with a warning.")


class ScopeThresholds(Section):
    """The gate's thresholds, chosen on validation patients."""

    layout: float = Field(description="Least score of a chest's layout.")
    embedding: float = Field(description="Largest squared distance of an embedding.")
    unusual: float = Field(description="Largest squared rest of a usual layout.")


@dataclass(frozen=True)
class Judgement:
    """Reasons to be out of scope, or warnings in scope."""

    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ScopeGate:
    """The gate's numbers, float32.

    Attributes:
        layout_weights: Shape (LAYOUT_SIZE,).
        layout_bias: Shape (1,).
        usual_mean: Shape (LAYOUT_SIZE,).
        usual_components: Shape (P, LAYOUT_SIZE), orthonormal rows.
        embedding_mean: Shape (D,).
        embedding_whitening: Shape (D, D).
    """

    layout_weights: NDArray[np.float32]
    layout_bias: NDArray[np.float32]
    usual_mean: NDArray[np.float32]
    usual_components: NDArray[np.float32]
    embedding_mean: NDArray[np.float32]
    embedding_whitening: NDArray[np.float32]

    def layout_scores(self, layouts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score layouts (N, LAYOUT_SIZE), above 0 for chests."""
        return layouts @ self.layout_weights + self.layout_bias

    def unusual_rests(self, layouts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return squared residuals (N,) of the usual components."""
        centred = layouts - self.usual_mean
        rest = centred - (centred @ self.usual_components.T) @ self.usual_components
        return np.asarray((rest**2).sum(axis=1))

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
            return Judgement((INVERTED,), ())
        if not score >= thresholds.layout:
            turned = np.stack([turn_layout(layout, n, inverted=False) for n in TURNED])
            scores = self.layout_scores(turned)
            best = int(scores.argmax())
            is_turned = scores[best] >= thresholds.layout
            return Judgement((TURNED[best + 1] if is_turned else NOT_A_CHEST,), ())
        if self.embedding_distances(embedding[None])[0] > thresholds.embedding:
            return Judgement((UNLIKE_TRAINING,), ())
        is_unusual = self.unusual_rests(layout[None])[0] > thresholds.unusual
        return Judgement((), (UNUSUAL,) if is_unusual else ())

    def save(self, path: Path) -> None:
        """Write the numbers as a safetensors file."""
        save_file({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}, path)
        path.chmod(0o644)  # safetensors makes it private


def load_scope_gate(path: Path, embedding_size: int) -> ScopeGate:
    """Read a saved gate; BundleError if damaged or made for another network."""
    try:
        gate = ScopeGate(**load_file(path))
    except (SafetensorError, OSError, TypeError):
        raise BundleError(f"{path.name} does not hold a scope gate, or is damaged.") from None
    expected = {
        "layout_weights": (LAYOUT_SIZE,),
        "layout_bias": (1,),
        "usual_mean": (LAYOUT_SIZE,),
        "usual_components": (len(gate.usual_components), LAYOUT_SIZE),
        "embedding_mean": (embedding_size,),
        "embedding_whitening": (embedding_size, embedding_size),
    }
    for name, shape in expected.items():
        if getattr(gate, name).shape != shape:
            raise BundleError(f"{path.name} was made for another network: {name} is not {shape}.")
    return gate
