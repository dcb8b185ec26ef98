"""The description of a bundle; every field is read or checked."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field, model_validator

from cxr.bundles.methods import Method
from cxr.bundles.reference import Reference
from cxr.data.labels import Task
from cxr.images.decoding import Preprocessing
from cxr.metrics.estimate import Estimate
from cxr.section import Section
from cxr.verdict.decision import Referral
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.populations import Population
from cxr.verdict.scope import ScopeFigure, ScopeThresholds

MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
INT8_MODEL_NAME = "model.int8.onnx"
HALF_MODEL_NAME = "model.fp16.onnx"
EXPLAIN_NAME = "explain.onnx"
WEIGHTS_NAME = "weights.safetensors"
SCOPE_NAME = "scope.safetensors"
GOLDEN_TENSORS_NAME = "golden.npz"
GOLDEN_FILES_DIR = "golden"
GOLDEN_EXPECTED_NAME = "golden/expected.json"
MODEL_CARD_NAME = "MODEL_CARD.md"

EXPLAIN_OUTPUTS = ("logits", "embedding", "maps", "gradients")
"""Of ``explain.onnx``: logits (N, K), embedding (N, D), feature maps (N, V, C, h, w) of V passes
and each pass's gradients (N, V, K, C, h, w) of the logits at them."""

FP32 = "fp32"
Precision: TypeAlias = Literal["int8", "bf16", "fp16"]
"""``int8``, ``fp16``: convolutions in eight bits or 16-bit floats, graphs of their own. ``bf16``:
another 16-bit float, to which engines round by themselves."""


class TaskSection(Section):
    """Classes in the order of the logits, and the finding asked for."""

    name: str
    classes: tuple[str, ...] = Field(min_length=2)
    positive: str
    positives: tuple[str, ...] = Field(
        (), description="Classes that make up the finding; empty if one is called as it."
    )

    @model_validator(mode="after")
    def _finding_exists(self) -> TaskSection:
        if not set(self.positives or (self.positive,)) < set(self.classes):
            raise ValueError("the positive classes are not a proper subset of the classes")
        return self

    def as_task(self) -> Task:
        """Return it as a task."""
        return Task(self.name, self.classes, self.positive, self.positives)


def task_section(task: Task) -> TaskSection:
    """Describe a task for runs and manifests."""
    return TaskSection(
        name=task.name, classes=task.classes, positive=task.positive, positives=task.positives
    )


class Tensors(Section):
    """Names and sizes of the graph's input and outputs."""

    image: str = "image"
    logits: str = "logits"
    probabilities: str = "probabilities"
    embedding: str = "embedding"
    embedding_size: int = Field(ge=1)


class Normalisation(Section):
    """Applied inside the graph to pixels divided by 255."""

    mean: float
    std: float = Field(gt=0)


class Calibration(Section):
    """How logits become probabilities, inside the graph."""

    temperature: float = Field(gt=0, description="Divisor of the logits, fitted on validation.")
    mirror: bool = Field(description="Logits are averaged over the image and its mirror image.")


class ScopeSection(Section):
    """Limits of the model's scope; the gate has its own file."""

    thresholds: ScopeThresholds
    figures: tuple[ScopeFigure, ...] = Field(description="How often the gate is wrong.")


class SyntheticImages(Section):
    """Generated images a network has learnt from."""

    generator: str
    generator_sha256: str
    images: dict[str, int] = Field(description="By class.")
    data_digest: str


class Provenance(Section):
    """Where the weights come from."""

    recipe: str
    seed: int
    init: str
    code_revision: str
    data_digest: str = Field(description="SHA-256 over names, classes and digests of the images.")
    trained_at: str
    images: dict[str, int] = Field(description="Images in each part of the split by patient.")
    patients: dict[str, int]
    sources: dict[str, int] = Field({}, description="Images learnt from, by source.")
    teachers: tuple[str, ...] = Field((), description="Runs whose answers were learnt.")
    synthetic: SyntheticImages | None = Field(
        None, description="Made images in the train part, not counted above."
    )


class Parity(Section):
    """PyTorch against ONNX Runtime on the same inputs when the bundle was built."""

    batch_sizes: tuple[int, ...]
    tolerance: float = Field(description="Allowed absolute difference of logits.")
    max_logit_difference: float
    max_probability_difference: float
    max_embedding_difference: float


class GoldenTolerance(Section):
    """Allowed absolute differences of probabilities of goldens."""

    tensors: float
    files: float


class Rounding(Section):
    """Differences from float32's answers."""

    logits: float = Field(description="Absolute.")
    probabilities: float = Field(description="Absolute.")
    embedding: float = Field(description="Distance over length.")

    def times(self, factor: float) -> Rounding:
        """Multiply all parts."""
        return Rounding(
            logits=self.logits * factor,
            probabilities=self.probabilities * factor,
            embedding=self.embedding * factor,
        )

    def exceeds(self, allowed: Rounding) -> str | None:
        """Return a part that is larger than allowed or NaN."""
        for name in ("logits", "probabilities", "embedding"):
            if not getattr(self, name) <= getattr(allowed, name):
                return name
        return None


class PrecisionFigures(Section):
    """What a precision costs against float32."""

    part: str = Field(description="Part of the split by patient.")
    images: int
    auroc: Estimate
    auroc_fp32: Estimate
    largest: Rounding
    mean: Rounding
    decisions_changed: int = Field(description="At the default operating point.")
    out_of_scope: int
    out_of_scope_fp32: int


class PrecisionSection(Section):
    """The network in another number format than float32."""

    file: str = Field(description="The graph an engine loads for it.")
    golden_tolerance: GoldenTolerance
    tolerance: Rounding = Field(description="Up to here a radiograph's difference is rounding.")
    goldens: Rounding | None = Field(
        description="Against PyTorch when built; None where the CPU decides how it rounds."
    )
    figures: PrecisionFigures | None


EXACT = Rounding(logits=0.0, probabilities=0.0, embedding=0.0)


Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Number: TypeAlias = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$", max_length=64)]


class Identity(BaseModel):
    """Name and version of a bundle, read without the rest of its manifest."""

    name: Name
    version: Number


class Manifest(Section):
    """Everything about a model beside its weights."""

    schema_version: Literal[3]
    name: Name
    version: Number
    architecture: str
    task: TaskSection
    preprocessing: Preprocessing
    normalisation: Normalisation
    calibration: Calibration
    tensors: Tensors
    opset: int
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    default_operating_point: str
    referral: Referral
    scope: ScopeSection
    populations: tuple[Population, ...] = Field(
        min_length=1, description="Whom the model was validated on, or not."
    )
    explain_layer: str
    explain_methods: tuple[Method, ...] = Field(
        description="Methods whose heatmaps passed their checks; none if no map is trustworthy."
    )
    intended_use: str
    limitations: tuple[str, ...]
    provenance: Provenance
    metrics: dict[str, dict[str, dict[str, Estimate]]] = Field(
        description="Part of the split by patient -> operating point -> figure."
    )
    parity: Parity
    golden_tolerance: GoldenTolerance
    precisions: dict[Precision, PrecisionSection] = Field(
        {}, description="What there is beside fp32, whose graph is model.onnx."
    )
    reference: Reference | None = Field(
        None, description="Answers on the validation images, for telling drift."
    )
    files: dict[str, str] = Field(description="Every other file with its SHA-256.")

    @model_validator(mode="after")
    def _names_exist(self) -> Manifest:
        if self.default_operating_point not in {p.name for p in self.operating_points}:
            raise ValueError("default_operating_point is not one of operating_points")
        if set(self.referral.least_probability) != set(self.task.classes):
            raise ValueError("referral.least_probability does not have the task's classes")
        if len({one.name for one in self.populations}) < len(self.populations):
            raise ValueError("two populations have the same name")
        points = {point.name for point in self.operating_points}
        if any(points - set(one.operating_points) for one in self.populations):
            raise ValueError("populations lack figures at one of operating_points")
        if len(self.populations) != len(self.scope.thresholds.populations):
            raise ValueError("scope.thresholds does not have the lines of populations")
        missing = {MODEL_NAME, WEIGHTS_NAME, SCOPE_NAME, GOLDEN_TENSORS_NAME} - set(self.files)
        if missing:
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        for precision, section in self.precisions.items():
            if section.file not in self.files:
                raise ValueError(f"files lacks {section.file}, the graph of {precision}")
        return self

    def model_file(self, precision: str) -> str:
        """Return the graph for a precision; KeyError if unknown."""
        return MODEL_NAME if precision == FP32 else self._precisions[precision].file

    def golden_tolerance_of(self, precision: str) -> GoldenTolerance:
        """Return the tolerance of goldens; KeyError if unknown."""
        if precision == FP32:
            return self.golden_tolerance
        return self._precisions[precision].golden_tolerance

    def rounding_of(self, precision: str) -> Rounding:
        """Return what a precision may change; KeyError if unknown."""
        return EXACT if precision == FP32 else self._precisions[precision].tolerance

    @property
    def _precisions(self) -> dict[str, PrecisionSection]:
        # Names come from settings and engines, as any text.
        return dict[str, PrecisionSection](self.precisions.items())

    def operating_point(self, name: str | None = None) -> OperatingPoint:
        """Return an operating point, by default the default one; KeyError if unknown."""
        wanted = name or self.default_operating_point
        for point in self.operating_points:
            if point.name == wanted:
                return point
        raise KeyError(wanted)
