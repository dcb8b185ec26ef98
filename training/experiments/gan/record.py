"""The record of an AC-GAN's training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from cxr.bundles.manifest import WEIGHTS_NAME, Provenance, TaskSection
from cxr.errors import RunError
from cxr.files import sha256_of_file
from cxr.images.decoding import Preprocessing
from cxr.section import Section, first_complaint
from training.experiments.gan.evaluator import Kid, Memorisation
from training.experiments.gan.features import FeatureNetwork

GAN_NAME = "gan.json"
DISCRIMINATOR_NAME = "discriminator.safetensors"


class GanEpoch(Section):
    """One row of the training curves."""

    epoch: int
    discriminator_loss: float
    generator_loss: float
    auxiliary_real: float
    auxiliary_generated: float
    kid: dict[str, Kid] | None
    images_per_second: float
    seconds: float


class GeneratorQuality(Section):
    """Quality of generated images, by class."""

    kid: dict[str, Kid]
    reference: dict[str, Kid]
    memorisation: dict[str, Memorisation]


class GanRun(Section):
    """The content of ``gan.json``."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    task: TaskSection
    preprocessing: Preprocessing
    recipe: dict[str, Any]
    notes: tuple[str, ...]
    provenance: Provenance
    versions: dict[str, str]
    features: FeatureNetwork
    curves: tuple[GanEpoch, ...]
    worth: GeneratorQuality
    weights_sha256: str
    discriminator_sha256: str


def open_gan(path: Path) -> GanRun:
    """Open a finished training; RunError if missing, incomplete or changed."""
    file = path / GAN_NAME
    if not file.is_file():
        raise RunError(f"No generator at {path}: {GAN_NAME} is missing. Was the training finished?")
    try:
        run = GanRun.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise RunError(f"{file} is not valid at {first_complaint(error)}.") from None
    weights = path / WEIGHTS_NAME
    if not weights.is_file() or sha256_of_file(weights) != run.weights_sha256:
        raise RunError(
            f"{path}: {WEIGHTS_NAME} is missing, or differs from what {GAN_NAME} states."
        )
    return run
