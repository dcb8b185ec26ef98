"""The bodies of answers, shared by the service and its client.

Nothing heavy is imported here: whoever reads answers needs pydantic only.
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from cxr.metrics.estimate import Estimate
from cxr.verdict.operating_point import Decision, OperatingPoint, ReferBand
from cxr.verdict.populations import PopulationPoint, PopulationSource


class Answer(BaseModel):
    """Base of all bodies. Immutable, of finite numbers; a newer service may add members."""

    model_config = ConfigDict(frozen=True, protected_namespaces=(), allow_inf_nan=False)


class Problem(Answer):
    """Why something could not be done (RFC 9457, application/problem+json)."""

    type: str = Field(description="Stable identifier of the kind of problem.")
    title: str = Field(description="The kind in a few words.")
    status: int = Field(description="HTTP status of this problem.")
    detail: str = Field(description="What was wrong here, and what to do.")
    request_id: str | None = Field(default=None, description="Quote it when asking for help.")


class ModelRef(Answer):
    """Which model gave an answer, and on what."""

    name: str
    version: str
    sha256: str = Field(description="Digest of the bundle's manifest: identifies the bundle.")
    engine: str = Field(description="Library that runs the model.")
    provider: str = Field(description="Execution provider in use.")
    precision: str


class ScopeAnswer(Answer):
    """Whether the image is of the kind, and of a patient like those, the model was made for."""

    in_scope: bool
    reasons: tuple[str, ...] = Field(description="Why not; empty in scope.")
    codes: tuple[str, ...] = Field(
        description="A stable word for each reason; unfamiliar-population: not a patient like "
        "those the model was validated on."
    )


class PopulationAnswer(Answer):
    """Patients a model was trained on."""

    name: str
    who: str = Field(description="In words, plural.")
    validated: bool = Field(
        description="Whether the model was found good enough on such patients it had never seen."
    )


class PopulationFigures(PopulationAnswer):
    """The same with what the model is worth for such patients it had never seen."""

    source: str = Field(description="Where their images come from.")
    ages_years: tuple[float, float] | None = Field(
        description="Youngest and oldest; null: not known."
    )
    part: str = Field(description="Part of the data the figures are of.")
    images: int
    patients: int
    auroc: Estimate
    ece: Estimate
    operating_points: dict[str, PopulationPoint]
    sources: tuple[PopulationSource, ...] = Field(description="By source of the images.")


class Uncertainty(Answer):
    """What cannot be ruled out, by conformal prediction."""

    prediction_set: tuple[str, ...] = Field(
        description="The classes that cannot be ruled out at this coverage; empty if none of them "
        "is credible."
    )
    coverage: float = Field(
        description="Share of images of each class whose set holds that class, on images like "
        "those the model was trained on."
    )
    refer_band: ReferBand | None = Field(
        description="Between these probabilities the model abstains at this operating point; "
        "null for more than two classes."
    )


class ConclusionAnswer(Answer):
    """The answer in words, to be shown to people. Programs go by `decision`."""

    headline: str = Field(description="A few words, by the finding and the decision.")
    subject: str = Field(description="What `probability` is of.")
    reasons: tuple[str, ...] = Field(
        description="Sentences: which line decided, or why the image is out of scope."
    )


class DicomAnswer(Answer):
    """What the DICOM header says about the picture. Nothing of the patient."""

    modality: str
    view_position: str
    body_part: str
    photometric_interpretation: str
    transfer_syntax_uid: str


class ImageFacts(Answer):
    """The image as it was received."""

    sha256: str = Field(description="Digest of the bytes received.")
    format: str = Field(description="jpeg, png or dicom, taken from the content.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    dicom: DicomAnswer | None = Field(description="null unless the image was DICOM.")


class ImageResult(Answer):
    """One image's answer."""

    id: str = Field(
        description="The id that was given, or the name of the file in a form; else the position "
        "in the request, from 0."
    )
    status: Literal["ok"] = "ok"
    finding: str = Field(
        description="What the model looks for, and what `decision` and `probability` are about."
    )
    label: str | None = Field(
        description="The class that the decision stands for, the most probable one on its side; "
        "null if the decision is refer."
    )
    decision: Decision = Field(
        description="Whether the finding is there; refer: the model abstains, because the "
        "probability lies where it is often wrong, because the image is out of scope, or because "
        "the patient is unlike those the model was validated on."
    )
    conclusion: ConclusionAnswer
    probability: float = Field(
        description="Calibrated, of the finding; means nothing if the image is out of scope."
    )
    probabilities: dict[str, float] = Field(description="Calibrated, of every class.")
    operating_point: OperatingPoint
    uncertainty: Uncertainty
    scope: ScopeAnswer
    population: PopulationAnswer | None = Field(
        description="Patients this one is taken to be like; null: none the model knows, or no "
        "chest radiograph."
    )
    warnings: tuple[str, ...] = Field(description="Sentences about how the image was read.")
    image: ImageFacts


class ImageError(Answer):
    """One image that failed alone."""

    id: str
    status: Literal["error"] = "error"
    problem: Problem


AnyResult = TypeAliasType(
    "AnyResult", Annotated[ImageResult | ImageError, Field(discriminator="status")]
)


class TimingsMs(Answer):
    """Where the time went, in milliseconds of the clock on the wall."""

    decode: float = Field(description="Longest decoding and resizing of an image.")
    queue: float = Field(description="Longest wait of an image, for a core and for its batch.")
    inference: float = Field(description="Longest run of a batch with an image of this request.")
    total: float = Field(description="From the request's head to its answer.")


class ResultDigest(NamedTuple):
    """What is counted of a result."""

    decision: Decision
    probability: float
    code: str | None  # of the first reason why it is out of scope

    @classmethod
    def of(cls, result: ImageResult) -> ResultDigest:
        """Take it from a result."""
        codes = result.scope.codes
        return cls(result.decision, result.probability, codes[0] if codes else None)


class PredictAnswer(Answer):
    """Answer to /v1/predict: one result per image, in the order of the request."""

    request_id: str
    model: ModelRef
    results: tuple[AnyResult, ...]
    timings_ms: TimingsMs


class WindowAnswer(Answer):
    """The window a picture is shown through, in units after the modality LUT."""

    center: float
    width: float
    function: str = Field(description="LINEAR, LINEAR_EXACT or SIGMOID.")


class RangeAnswer(Answer):
    """The values that occur in an image, in units after the modality LUT."""

    low: float
    high: float


class RenderAnswer(Answer):
    """Answer to /v1/render: one radiograph as a picture. Nothing of the patient."""

    request_id: str
    width: int = Field(description="Of the picture, in pixels.")
    height: int = Field(description="Of the picture, in pixels.")
    png: str = Field(description="Grey PNG file, base64.")
    window: WindowAnswer | None = Field(
        description="What was applied; null for a VOI LUT, the whole range, and other formats."
    )
    range: RangeAnswer | None = Field(description="null unless monochrome DICOM.")


class HeatmapAnswer(Answer):
    """How much each place speaks for the class, at the layer's own resolution."""

    height: int = Field(description="Rows.")
    width: int = Field(description="Columns.")
    values: tuple[tuple[float, ...], ...] = Field(description="Row by row, in [0, 1].")


class ExplanationAnswer(Answer):
    """Where in the image the answer comes from."""

    method: str = Field(description="By the name it was asked for.")
    layer: str = Field(description="Whose feature maps were weighed.")
    target: str = Field(description="The explained class.")
    heatmap: HeatmapAnswer
    heatmap_png: str = Field(
        description="Base64. Heatmap alone at the image's aspect ratio, the value as opacity."
    )
    overlay_png: str = Field(
        description="Base64. Image with the heatmap over it, legend and caption below it; an image "
        "out of scope without heatmap."
    )

    def heatmap_image(self) -> bytes:
        """Give the PNG file of the heatmap alone."""
        return base64.b64decode(self.heatmap_png)

    def overlay_image(self) -> bytes:
        """Give the PNG file of the image with the heatmap over it."""
        return base64.b64decode(self.overlay_png)


class ExplainedResult(ImageResult):
    """One image's answer with its explanation."""

    explanation: ExplanationAnswer


class ExplainTimingsMs(TimingsMs):
    """Where the time of an explained prediction went."""

    explain: float = Field(description="Queue, run and pictures of the explanation.")


class ExplainAnswer(Answer):
    """Answer to /v1/explain: one result."""

    request_id: str
    model: ModelRef
    results: tuple[ExplainedResult]
    timings_ms: ExplainTimingsMs


class ExplainOffer(Answer):
    """What explanations of a model can be had."""

    layer: str = Field(description="Whose feature maps are weighed.")
    methods: tuple[str, ...]
    precision: str | None = Field(
        description="Number format it is computed in; null while the explainer is being loaded."
    )


class ModelAnswer(ModelRef):
    """All about one loaded model."""

    default: bool = Field(description="Used when a request names no model.")
    architecture: str
    task: str
    classes: tuple[str, ...] = Field(description="In the order of the network's outputs.")
    positive_class: str = Field(description="The finding that is asked for.")
    finding_classes: tuple[str, ...] = Field(description="Classes that make up the finding.")
    input_size_px: int = Field(description="Side of the square the image is resized to.")
    min_side_px: int = Field(description="Shortest side an image may have.")
    operating_points: tuple[OperatingPoint, ...]
    default_operating_point: str
    metrics: dict[str, dict[str, dict[str, Estimate]]] = Field(
        description="Part of the data -> operating point -> figure."
    )
    populations: tuple[PopulationFigures, ...] = Field(
        description="Whom the model was validated on, or not."
    )
    intended_use: str
    limitations: tuple[str, ...]
    explain: ExplainOffer | None = Field(default=None, description="null: no explanations.")


class VersionAnswer(Answer):
    """One version of a model, loaded or not."""

    model: str
    version: str | None = Field(description="null: its manifest cannot be read.")
    state: Literal["available", "loading", "active", "standby", "unloading", "failed"] = Field(
        description="available: on disk, not loaded; active: answers requests that name no "
        "version; standby: loaded, answers those that name it; unloading: finishes what it began."
    )
    reason: str = Field("", description="Why it failed; empty otherwise.")
    folder: str = Field(description="Below the folder of bundles.")
    sha256: str | None = Field(
        None, description="Digest of the bundle's manifest; null unless it is loaded."
    )
    shadow: bool = Field(False, description="Whether it answers in the background, too.")


class ModelsAnswer(Answer):
    """All loaded models, and all versions there are."""

    models: tuple[ModelAnswer, ...]
    versions: tuple[VersionAnswer, ...] = ()


class ModelVersionsAnswer(Answer):
    """The versions of one model after a change."""

    model: str
    active: str | None = Field(description="The version that answers requests that name none.")
    versions: tuple[VersionAnswer, ...]


class StatusAnswer(Answer):
    """Answer to a probe."""

    status: str


class ModelHealth(Answer):
    """One model's queue."""

    name: str
    version: str
    provider: str
    queue_depth: int = Field(description="Images accepted and not yet answered.")
    queue_capacity: int
    explain_queue_depth: int | None = Field(
        default=None, description="Explanations accepted and not yet running; null: none served."
    )


class HealthAnswer(Answer):
    """Summary of the service's state."""

    status: Literal["starting", "ready", "stalled", "draining", "failed"]
    version: str = Field(description="Of the service.")
    uptime_s: float
    active_requests: int = Field(description="Predictions accepted and not yet answered.")
    models: tuple[ModelHealth, ...]
