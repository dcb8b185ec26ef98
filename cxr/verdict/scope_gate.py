"""The part of the scope that is learnt: does the picture look like a frontal chest radiograph?

Three questions, each answered from few numbers that travel in the bundle:

- its layout (:mod:`cxr.images.layout`) is compared with those of radiographs and of everything else
  by a linear classifier, also as if the picture were turned or inverted;
- the network's embedding has a Mahalanobis distance from those of the training images (Lee et
  al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018), the
  covariance shrunk (Ledoit, Wolf 2004);
- what the principal components of the training images' layouts leave over tells a picture that
  is in scope but not as usual: an adult's, for a model trained on children.
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
from cxr.section import Section

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


class ScopeFigure(Section):
    """How the gate judged one set of pictures.

    ``flagged`` is the share that was found out of scope, ``refused`` the share that could not
    even be read, ``unusual`` the share that only got the warning.
    """

    name: str
    frontal: bool = Field(description="Whether these are frontal chest radiographs.")
    images: int
    flagged: Estimate
    refused: float
    unusual: float


class ScopeThresholds(Section):
    """Where the gate draws its lines, chosen on validation patients."""

    layout: float = Field(description="Least score of a chest's layout.")
    embedding: float = Field(description="Largest squared distance of an embedding.")
    unusual: float = Field(description="Largest squared rest of a usual layout.")


@dataclass(frozen=True)
class Judgement:
    """What the gate finds: reasons to call a picture out of scope, and a lesser warning."""

    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ScopeGate:
    """The gate's numbers.

    Attributes:
        layout_weights: Shape (LAYOUT_SIZE,), float32.
        layout_bias: Shape (1,), float32.
        usual_mean: Shape (LAYOUT_SIZE,), float32.
        usual_components: Shape (P, LAYOUT_SIZE), float32, orthonormal rows.
        embedding_mean: Shape (D,), float32.
        embedding_whitening: Shape (D, D), float32: makes the covariance the identity.
    """

    layout_weights: NDArray[np.float32]
    layout_bias: NDArray[np.float32]
    usual_mean: NDArray[np.float32]
    usual_components: NDArray[np.float32]
    embedding_mean: NDArray[np.float32]
    embedding_whitening: NDArray[np.float32]

    def layout_scores(self, layouts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score layouts (N, LAYOUT_SIZE): shape (N,), above 0 for chests."""
        return layouts @ self.layout_weights + self.layout_bias

    def unusual_rests(self, layouts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared length of what the usual components leave over, shape (N,)."""
        centred = layouts - self.usual_mean
        rest = centred - (centred @ self.usual_components.T) @ self.usual_components
        return np.asarray((rest**2).sum(axis=1))

    def embedding_distances(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared Mahalanobis distances of embeddings (N, D), shape (N,)."""
        white = (embeddings - self.embedding_mean) @ self.embedding_whitening
        return np.asarray((white**2).sum(axis=1))

    def judge(
        self, layout: Layout, embedding: NDArray[np.float32], thresholds: ScopeThresholds
    ) -> Judgement:
        """Judge one picture. A tenth of a millisecond, so the event loop may call it.

        Args:
            layout: Of its model input.
            embedding: Shape (D,), float32, from the network's graph.
            thresholds: Where the lines are.
        """
        reasons = self._layout_reasons(layout, thresholds.layout)
        if not reasons and self.embedding_distances(embedding[None])[0] > thresholds.embedding:
            reasons.append(UNLIKE_TRAINING)
        is_unusual = not reasons and self.unusual_rests(layout[None])[0] > thresholds.unusual
        return Judgement(tuple(reasons), (UNUSUAL,) if is_unusual else ())

    def _layout_reasons(self, layout: Layout, threshold: float) -> list[str]:
        inverted = turn_layout(layout, 0, inverted=True)
        score, when_inverted = self.layout_scores(np.stack([layout, inverted]))
        if when_inverted > max(score, threshold):
            return [INVERTED]
        if score >= threshold:
            return []
        turned = np.stack([turn_layout(layout, n, inverted=False) for n in TURNED])
        scores = self.layout_scores(turned)
        best = int(scores.argmax())
        return [TURNED[best + 1] if scores[best] >= threshold else NOT_A_CHEST]

    def save(self, path: Path) -> None:
        """Write the numbers as a safetensors file."""
        save_file({f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}, path)
        path.chmod(0o644)  # safetensors makes it private


def load_scope_gate(path: Path, embedding_size: int) -> ScopeGate:
    """Read what :meth:`ScopeGate.save` wrote.

    Args:
        path: The file.
        embedding_size: Length D of the network's embedding.

    Raises:
        BundleError: Unreadable, or made for another network.
    """
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
