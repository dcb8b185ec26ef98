"""A training run on disk, which export takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from cxr.bundles.manifest import (
    SCOPE_NAME,
    WEIGHTS_NAME,
    Calibration,
    Normalisation,
    Provenance,
    ScopeSection,
    TaskSection,
)
from cxr.errors import RunError
from cxr.files import sha256_of_file
from cxr.images.decoding import Preprocessing
from cxr.metrics.estimate import Estimate
from cxr.section import Section, first_complaint
from cxr.verdict.decision import Referral
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.populations import Population

RUN_NAME = "run.json"


class EpochRecord(Section):
    """One row of the training curves."""

    phase: str
    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_auroc: float | None
    val_accuracy: float | None = None
    images_per_second: float
    seconds: float


class Run(Section):
    """The content of ``run.json``."""

    schema_version: Literal[3] = 3
    name: str
    version: str
    architecture: str
    task: TaskSection
    preprocessing: Preprocessing
    normalisation: Normalisation
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    default_operating_point: str
    referral: Referral
    scope: ScopeSection
    populations: tuple[Population, ...] = Field(min_length=1)
    recipe: dict[str, Any]
    notes: tuple[str, ...]
    provenance: Provenance
    versions: dict[str, str]
    curves: tuple[EpochRecord, ...]
    metrics: dict[str, dict[str, dict[str, Estimate]]]
    weights_sha256: str
    scope_sha256: str

    @property
    def default_point(self) -> OperatingPoint:
        """The operating point that decides unless another is asked for."""
        return next(p for p in self.operating_points if p.name == self.default_operating_point)


def open_run(path: Path) -> Run:
    """Open a run and verify its weights and scope gate; RunError if it is not intact."""
    file = path / RUN_NAME
    if not file.is_file():
        raise RunError(f"No run at {path}: {RUN_NAME} is missing. Did the training finish?")
    try:
        run = Run.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise RunError(f"{file} is not valid at {first_complaint(error)}.") from None
    for name, digest in ((WEIGHTS_NAME, run.weights_sha256), (SCOPE_NAME, run.scope_sha256)):
        if not (path / name).is_file():
            raise RunError(f"The run {path} is incomplete: {name} is missing.")
        if sha256_of_file(path / name) != digest:
            raise RunError(f"The run {path} was changed: {name} is not what {RUN_NAME} states.")
    return run


class Measured(Section):
    """A file of a run, measured with one set of weights."""

    weights_sha256: str


SomeMeasured = TypeVar("SomeMeasured", bound=Measured)


def read_measured(
    path: Path, kind: type[SomeMeasured], weights_sha256: str, again: str
) -> SomeMeasured | None:
    """Read a file measured with the run's weights; None if nothing was measured.

    RunError if invalid or of other weights; ``again`` says what to do.
    """
    if not path.is_file():
        return None
    try:
        found = kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunError(f"{path} is not valid at {first_complaint(error)}.") from None
    if found.weights_sha256 != weights_sha256:
        raise RunError(f"{path} was measured with other weights. {again}")
    return found
