"""Stored inputs with their answers, none from a patient."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.bundles import manifest as names
from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import FP32, GoldenTolerance
from cxr.data.labels import Task
from cxr.errors import BundleError
from cxr.images.decoding import Preprocessing, decode_image, decode_options, to_model_input
from cxr.pixels.image import ModelInput
from export.engines import Runner
from export.phantom import draw_phantom, encode_dicom, encode_jpeg, encode_png

TOLERANCE = GoldenTolerance(
    tensors=1e-3,  # float32 kernels of any provider and CPU; a wrong graph is off by far more
    files=2e-2,  # JPEG decoders and resize libraries differ by a grey level here and there
)

OPACITIES = (0.0, 0.0, 0.5, 1.0, 0.3, 0.8, 0.0, 1.0)

ENCODERS: dict[str, tuple[Callable[[NDArray[np.uint8]], bytes], float]] = {
    "phantom-clear.jpeg": (encode_jpeg, 0.0),
    "phantom-opaque.png": (encode_png, 1.0),
    "phantom-clear.dcm": (encode_dicom, 0.0),
    "phantom-opaque-monochrome1.dcm": (lambda image: encode_dicom(image, monochrome1=True), 1.0),
}


def golden_inputs(spec: Preprocessing) -> NDArray[np.uint8]:
    """Return model inputs (8, 1, S, S): phantoms, a flat one, and noise."""
    inputs = [to_model_input(draw_phantom(i, o), spec) for i, o in enumerate(OPACITIES)]
    size = spec.size_px
    inputs[0] = np.full((1, size, size), 128, dtype=np.uint8)
    inputs[1] = np.random.default_rng(0).integers(0, 256, (1, size, size), dtype=np.uint8)
    return np.stack(inputs)


def read_model_input(data: bytes, spec: Preprocessing) -> ModelInput:
    """Decode and resize a file as the service does."""
    return to_model_input(decode_image(data, decode_options(spec)).pixels, spec)


def write_goldens(directory: Path, engine: Runner, spec: Preprocessing, task: Task) -> None:
    """Write golden tensors and files."""
    images = golden_inputs(spec)
    answers = engine.run(images)
    np.savez(
        directory / names.GOLDEN_TENSORS_NAME,
        images=images,
        logits=answers.logits,
        probabilities=answers.probabilities,
    )
    (directory / names.GOLDEN_FILES_DIR).mkdir()
    expected = {}
    for name, (encode, opacity) in ENCODERS.items():
        data = encode(draw_phantom(3, opacity))
        (directory / names.GOLDEN_FILES_DIR / name).write_bytes(data)
        answer = engine.run(read_model_input(data, spec)[np.newaxis])
        expected[name] = float(task.probabilities(answer.probabilities)[0])
    path = directory / names.GOLDEN_EXPECTED_NAME
    path.write_text(json.dumps(expected, indent=2) + "\n")


def verify_goldens(bundle: Bundle, engine: Runner, precision: str = FP32) -> None:
    """Replay a bundle's goldens; BundleError if an answer differs."""
    manifest = bundle.manifest
    tolerance = manifest.golden_tolerance_of(precision)
    stored = bundle.golden_tensors()
    probabilities = engine.run(stored.images).probabilities
    gap = float(np.abs(probabilities - stored.probabilities).max())
    if not gap <= tolerance.tensors:
        raise BundleError(f"The golden tensors do not match in {precision}: off by {gap:.2e}.")
    task = manifest.task.as_task()
    for path, expected in bundle.golden_files().items():
        model_input = read_model_input(path.read_bytes(), manifest.preprocessing)
        answer = engine.run(model_input[np.newaxis])
        gap = abs(float(task.probabilities(answer.probabilities)[0]) - expected)
        if not gap <= tolerance.files:
            raise BundleError(
                f"The golden file {path.name} does not match in {precision}: off by {gap:.2e}."
            )
