"""The models that are being served, by name."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property

from cxr.bundles.manifest import Manifest
from cxr.bundles.methods import Method
from cxr.verdict.operating_point import OperatingPoint
from service.answers import ExplainOffer, ModelAnswer, ModelRef, PopulationFigures
from service.errors import (
    ExplainDisabledError,
    InvalidRequestError,
    NotReadyError,
    StartupError,
    UnknownModelError,
)
from service.explain.explaining import COMING, Explaining
from service.lifecycle import RETRY_STARTING_S
from service.models.loading import LoadedModel
from service.models.versions import LOADED, Version, Versions
from service.scheduling.lane import Lane
from service.settings import Settings

PREFERRED_MODEL = "resnet18"
"""Default when the operator names none: the more accurate of the two that ship."""


@dataclass(eq=False)
class ServedModel:
    """A loaded model, the lane to its engine, and what explains its answers, if anything does.

    ``is_explainer_coming`` while that is being loaded.
    """

    loaded: LoadedModel
    lane: Lane
    explaining: Explaining | None = None
    is_explainer_coming: bool = False

    @cached_property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.loaded.bundle.manifest

    @cached_property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @cached_property
    def reference(self) -> ModelRef:
        """Which model this is and what it runs on."""
        engine = self.loaded.engine
        return ModelRef(
            name=self.name,
            version=self.manifest.version,
            sha256=self.loaded.bundle.sha256,
            engine=engine.name,
            provider=engine.provider,
            precision=engine.precision,
        )

    @cached_property
    def encoded_reference(self) -> bytes:
        """The reference as JSON."""
        return self.reference.model_dump_json().encode()

    @cached_property
    def _points(self) -> dict[str, OperatingPoint]:
        return {point.name: point for point in self.manifest.operating_points}

    def operating_point(self, name: str | None) -> OperatingPoint:
        """Return an operating point by name, the default one for None.

        Raises:
            InvalidRequestError: The manifest has none of that name.
        """
        point = self._points.get(name or self.manifest.default_operating_point)
        if point is None:
            raise InvalidRequestError(
                f"Unknown operating point. Those of model {self.name} are: "
                f"{', '.join(self._points)}."
            )
        return point

    def verify_explains(self) -> Explaining:
        """Return what explains the model's answers.

        Raises:
            ExplainDisabledError: Nothing does.
            NotReadyError: It is being loaded.
        """
        if self.is_explainer_coming:
            raise NotReadyError(COMING, RETRY_STARTING_S)
        if self.explaining is None:
            raise ExplainDisabledError("Explanations are not served here. Use /v1/predict.")
        return self.explaining

    def verify_method(self, method: Method) -> None:
        """Check that the model's heatmaps by a method can be trusted.

        Raises:
            ExplainDisabledError: Those of no method can.
            InvalidRequestError: Those of others can.
        """
        offered = self.manifest.explain_methods
        if not offered:
            raise ExplainDisabledError(
                f"No heatmap of model {self.name} passed the checks of what it shows."
            )
        if method not in offered:
            raise InvalidRequestError(
                f"Heatmaps by {method} are not offered for model {self.name}: they did not pass "
                "the checks of what they show, or were not measured. Ask for "
                f"{' or '.join(offered)}."
            )

    def describe(self, *, default: bool) -> ModelAnswer:
        """Return all that may be known about the model."""
        manifest, offer = self.manifest, None
        is_explained = self.explaining is not None or self.is_explainer_coming
        if is_explained and manifest.explain_methods:
            offer = ExplainOffer(
                layer=manifest.explain_layer if self.explaining is None else self.explaining.layer,
                methods=manifest.explain_methods,
                precision=None if self.explaining is None else self.explaining.precision,
            )
        return ModelAnswer(
            **self.reference.model_dump(),
            default=default,
            architecture=manifest.architecture,
            task=manifest.task.name,
            classes=manifest.task.classes,
            positive_class=manifest.task.positive,
            finding_classes=manifest.task.as_task().positive_classes,
            input_size_px=manifest.preprocessing.size_px,
            min_side_px=manifest.preprocessing.min_side_px,
            operating_points=manifest.operating_points,
            default_operating_point=manifest.default_operating_point,
            metrics=manifest.metrics,
            populations=tuple(
                PopulationFigures(validated=one.validated, **dict(one))
                for one in manifest.populations
            ),
            intended_use=manifest.intended_use,
            limitations=manifest.limitations,
            explain=offer,
        )


class Models:
    """Models by name, each in its versions. Belongs to the event loop.

    The one place that knows which version answers: whoever asks within one turn of the loop gets
    one answer, and a request asks once. ``default`` is the model used when a request names none.
    """

    def __init__(self, stall_s: float = math.inf) -> None:
        self._versions: dict[str, Versions[ServedModel]] = {}
        self._stall_s = stall_s
        self.default = ""

    def __iter__(self) -> Iterator[ServedModel]:
        """Iterate over the active version of every model."""
        for versions in self._versions.values():
            if versions.active is not None and versions.active.payload is not None:
                yield versions.active.payload

    @property
    def every(self) -> tuple[Versions[ServedModel], ...]:
        """All models with all their versions, loaded or not."""
        return tuple(self._versions.values())

    @property
    def held(self) -> list[ServedModel]:
        """Everything in memory, also what is being unloaded."""
        return [
            version.payload
            for versions in self._versions.values()
            for version in versions.by_key.values()
            if version.payload is not None
        ]

    @property
    def stalled_s(self) -> float:
        """Seconds for which some model has answered no prediction though it was at work.

        What runs is looked at, not what waits: nobody waits any more after the deadline, nor once
        the load balancer has been told.
        """
        return max((model.lane.stalled_s for model in self.held), default=0.0)

    def is_stalled(self) -> bool:
        """Whether some model has stalled."""
        return any(model.lane.stalled_s > self._stall_s for model in self.held)

    def versions_of(self, name: str) -> Versions[ServedModel]:
        """Return the versions of a model, none yet for a new name."""
        return self._versions.setdefault(name, Versions(name))

    def knows(self, name: str) -> bool:
        """Whether there is any version of a model, loaded or not."""
        return any(True for _ in self._versions.get(name, ()))

    def find(self, name: str | None, number: str | None = None) -> Version[ServedModel]:
        """Return a loaded version of a model; the default model and its active version for None.

        Raises:
            UnknownModelError: It is not loaded.
        """
        name = name or self.default
        versions = self._versions.get(name)
        if versions is not None:
            version = versions.active if number is None else versions.by_key.get(number)
            if version is not None and version.state in LOADED:
                return version
            if versions.loaded:
                loaded = ", ".join(one.key for one in versions.loaded)
                raise UnknownModelError(f"Model {name} is loaded in version {loaded} only.")
        loaded = ", ".join(one.model for one in self.every if one.loaded)
        raise UnknownModelError(f"Unknown model. Loaded are: {loaded}.")

    def get(self, wanted: str | None) -> ServedModel:
        """Return a model as a request names it; see :meth:`using`, which also holds it.

        Raises:
            UnknownModelError: It is not loaded.
        """
        return self.find(*split_name(wanted)).model

    def using(
        self, wanted: str | None, number: str | None = None
    ) -> AbstractContextManager[ServedModel]:
        """Hold a model for the length of a request: it answers to the end, whatever is switched.

        ``wanted`` is ``name``, ``name@version`` or None for the default model.

        Raises:
            UnknownModelError: It is not loaded.
        """
        if number is None:
            wanted, number = split_name(wanted)
        return self.hold(self.find(wanted, number))

    @contextmanager
    def hold(self, version: Version[ServedModel]) -> Iterator[ServedModel]:
        """Hold a version for the length of a request: it is not unloaded meanwhile.

        Raises:
            ValueError: It is not loaded.
        """
        if version.payload is None or version.state not in LOADED:
            raise ValueError(f"version {version.key} is {version.state}")
        version.uses += 1
        try:
            yield version.payload
        finally:
            version.uses -= 1
            if not version.uses:
                version.idle.set()


def split_name(wanted: str | None) -> tuple[str | None, str | None]:
    """Split ``name@version`` into both; what is absent is None."""
    name, at, number = (wanted or "").partition("@")
    return name or None, number if at else None


def default_name(names: list[str], settings: Settings, broken: Collection[str] = ()) -> str:
    """Choose the default among the loaded models' names.

    Raises:
        StartupError: The operator's choice is not loaded, or there is none and the model that
            would be the default is broken: another one would answer for it without a word.
    """
    if settings.default_model:
        if settings.default_model not in names:
            raise StartupError(
                f"CXR_DEFAULT_MODEL is {settings.default_model}, but only {', '.join(names)} "
                "is loaded."
            )
        return settings.default_model
    if PREFERRED_MODEL in names:
        return PREFERRED_MODEL
    if PREFERRED_MODEL in broken:
        raise StartupError(
            f"Model {PREFERRED_MODEL} cannot be used, and would answer requests that name none. "
            "Mend its bundle, or set CXR_DEFAULT_MODEL to another model."
        )
    return names[0]
