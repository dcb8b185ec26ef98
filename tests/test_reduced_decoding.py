"""Decoding JPEG at a reduced scale keeps the answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr.bundles.bundle import open_bundle
from cxr.images.decoding import Preprocessing, decode_image, decode_options, to_model_input
from cxr.pixels.image import ModelInput
from service.engines.protocol import Engine
from service.engines.registry import build_engine
from service.errors import StartupError
from service.settings import Settings

MAX_DIFFERENCE = 0.03  # of the probability, against decoding at full size: docs/decisions/0011
REDUCED_FILES = 20  # that many at least are large enough for the test to mean something

SPEC = Preprocessing(size_px=224, min_side_px=64)


@pytest.fixture(scope="module")
def pairs(shared_data: Path) -> list[tuple[ModelInput, ModelInput]]:
    """Model inputs of all original files, at reduced and at full size, where the two differ."""
    found = []
    for path in sorted((shared_data / "originals").rglob("*.jpeg")):
        data = path.read_bytes()
        reduced = decode_image(data, decode_options(SPEC))
        full = decode_image(data, decode_options(SPEC.model_copy(update={"size_px": 10**6})))
        if reduced.pixels.shape != full.pixels.shape:
            found.append((to_model_input(reduced.pixels, SPEC), to_model_input(full.pixels, SPEC)))
    assert len(found) >= REDUCED_FILES
    return found


def probabilities(engine: Engine, inputs: list[ModelInput]) -> NDArray[np.float32]:
    """Give the positive class's probability of each, one run each, as a CPU is served."""
    runs = (engine.run(one[np.newaxis]) for one in inputs)
    return np.array([output.probabilities[0, 1] for output in runs])


@pytest.mark.parametrize("model", ["resnet18", "small_cnn"])
@pytest.mark.parametrize(
    ("library", "precision"),
    [
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        ("openvino", "int8"),
        ("openvino", "bf16"),
    ],
)
def test_reduced_decoding_keeps_the_answer(
    shipped_bundles: Path,
    pairs: list[tuple[ModelInput, ModelInput]],
    model: str,
    library: str,
    precision: str,
) -> None:
    """Over the original files, in every engine and precision a CPU is served in."""
    pytest.importorskip(library)
    bundle = open_bundle(shipped_bundles / model)
    assert bundle.manifest.preprocessing == SPEC
    settings = Settings(provider="cpu", engine=library, precision=precision, workers=1)
    try:
        engine = build_engine(bundle, settings)
    except StartupError as error:
        if precision != "bf16":
            raise
        pytest.skip(f"this CPU does not compute in bf16: {error}")
    reduced, full = (probabilities(engine, list(inputs)) for inputs in zip(*pairs, strict=True))
    difference = float(np.abs(reduced - full).max())
    print(f"\n{model}, {library} {precision}: {difference:.4f} over {len(pairs)} reduced files")
    assert difference <= MAX_DIFFERENCE
