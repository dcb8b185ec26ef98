"""The shipped models give the same picture the same probability in every encoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxr.bundles.bundle import open_bundle
from cxr.images.decoding import decode_image, decode_options, to_model_input
from export.phantom import draw_phantom, encode_png
from service.engines.registry import build_engine
from service.settings import Settings
from tests.cxr import dcmtk
from tests.cxr.dicom_encodings import ENCODINGS, Encoding

PHANTOM = draw_phantom(5, opacity=0.5)


@pytest.fixture(scope="module", params=["resnet18", "small_cnn"])
def probability_of(
    request: pytest.FixtureRequest, shipped_bundles: Path
) -> Callable[[bytes], float]:
    """A shipped model that is asked for one file's probability."""
    bundle = open_bundle(shipped_bundles / request.param)
    engine = build_engine(bundle, Settings(provider="cpu", engine="onnxruntime", precision="fp32"))
    spec = bundle.manifest.preprocessing

    def ask(data: bytes) -> float:
        pixels = decode_image(data, decode_options(spec)).pixels
        return float(engine.run(to_model_input(pixels, spec)[np.newaxis]).probabilities[0, 1])

    return ask


@pytest.mark.parametrize("encoding", ENCODINGS + dcmtk.ENCODINGS, ids=lambda e: e.name)
def test_encoding_keeps_the_probability(
    encoding: Encoding, probability_of: Callable[[bytes], float]
) -> None:
    """To 0.01 if it is lossless, to 0.03 if it is not."""
    expected = probability_of(encode_png(PHANTOM))
    assert abs(probability_of(encoding.encode(PHANTOM)) - expected) <= encoding.tolerance
