"""The models that are being served, by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cxr.decision import OperatingPoint
from cxr.explain.methods import METHODS
from cxr.manifest import Manifest
from service.answers import ExplainOffer, ModelAnswer, ModelRef
from service.errors import (
    ExplainDisabledError,
    InvalidRequestError,
    StartupError,
    UnknownModelError,
)
from service.inference.admission import retry_after_s
from service.inference.explaining import Explaining
from service.inference.lane import Lane
from service.inference.loading import LoadedModel
from service.settings import Settings

PREFERRED_MODEL = "resnet18"
"""Default when the operator names none: the more accurate of the two that ship."""


@dataclass(frozen=True)
class ServedModel:
    """A loaded model with the lane that leads to its engine.

    Attributes:
        loaded: The model.
        lane: Decodes and runs its images.
        explaining: Explains its answers, None where that is not served.
    """

    loaded: LoadedModel
    lane: Lane
    explaining: Explaining | None = None

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.loaded.bundle.manifest

    def operating_point(self, name: str | None) -> OperatingPoint:
        """Give an operating point by name, the default one for None.

        Raises:
            InvalidRequestError: The manifest has none of that name.
        """
        try:
            return self.manifest.operating_point(name)
        except KeyError:
            valid = ", ".join(point.name for point in self.manifest.operating_points)
            raise InvalidRequestError(
                f"Unknown operating point. Those of model {self.manifest.name} are: {valid}."
            ) from None

    def verify_explains(self) -> Explaining:
        """Give what explains the model's answers.

        Raises:
            ExplainDisabledError: Nothing does.
        """
        if self.explaining is None:
            raise ExplainDisabledError("Explanations are not served here. Use /v1/predict.")
        return self.explaining

    def verify_room(self, count: int) -> None:
        """Refuse more images than may be under way.

        Raises:
            QueueFullError: Fewer than ``count`` places are free.
        """
        load = self.lane.load
        load.verify_room(count, retry_after_s(load.core_s + load.device_s))

    def reference(self) -> ModelRef:
        """Say which model this is and on what it runs."""
        engine = self.loaded.engine
        return ModelRef(
            name=self.manifest.name,
            version=self.manifest.version,
            sha256=self.loaded.bundle.sha256,
            engine=engine.name,
            provider=engine.provider,
            precision=engine.precision,
        )

    def describe(self, *, default: bool) -> ModelAnswer:
        """Give all that may be known about the model."""
        manifest = self.manifest
        return ModelAnswer(
            **self.reference().model_dump(),
            default=default,
            architecture=manifest.architecture,
            task=manifest.task.name,
            classes=manifest.task.classes,
            positive_class=manifest.task.positive,
            input_size_px=manifest.preprocessing.size_px,
            min_side_px=manifest.preprocessing.min_side_px,
            operating_points=manifest.operating_points,
            default_operating_point=manifest.default_operating_point,
            metrics=manifest.metrics,
            intended_use=manifest.intended_use,
            limitations=manifest.limitations,
            explain=self._describe_explaining(),
        )

    def _describe_explaining(self) -> ExplainOffer | None:
        if self.explaining is None:
            return None
        explainer = self.explaining.explainer
        return ExplainOffer(layer=explainer.layer, methods=METHODS, precision=explainer.precision)


class Models:
    """Served models by name, one of them the default.

    Args:
        served: At least one model.
        default: Name of the one used when a request names none.
    """

    def __init__(self, served: dict[str, ServedModel], default: str) -> None:
        self._served = served
        self.default = default

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._served.values())

    def get(self, name: str | None) -> ServedModel:
        """Give a model by name, the default one for None.

        Raises:
            UnknownModelError: None of that name is loaded.
        """
        try:
            return self._served[name or self.default]
        except KeyError:
            loaded = ", ".join(self._served)
            raise UnknownModelError(f"Unknown model. Loaded are: {loaded}.") from None


def default_name(names: list[str], settings: Settings) -> str:
    """Choose the default among the loaded models' names.

    Raises:
        StartupError: The operator's choice is not loaded.
    """
    if settings.default_model:
        if settings.default_model not in names:
            raise StartupError(
                f"CXR_DEFAULT_MODEL is {settings.default_model}, but only {', '.join(names)} "
                "is loaded."
            )
        return settings.default_model
    return PREFERRED_MODEL if PREFERRED_MODEL in names else names[0]
