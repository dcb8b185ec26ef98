"""Response formats by route."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from service.answers import ImageResult, ModelRef
from service.dicom.source import SourceHeader
from service.errors import SomeImagesFailedError
from service.explain.pictures import PictureOrder
from service.http.formats.negotiation import ResponseFormat
from service.http.formats.sources import Sources, name_positions
from service.images.rendering import Picture
from service.models.models import ServedModel
from service.models.predictor import ImageFailure, Outcome, Prediction
from service.web.bodies import while_connected
from service.web.problems import SERVER_FAULT, error_response, problem_type_of
from service.web.requests import RequestContext, context_of

VARY = {"Vary": "Accept"}
BINARY: Mapping[str, Any] = {"schema": {"type": "string", "format": "binary"}}

Drawn = TypeVar("Drawn")


SourcedResult: TypeAlias = tuple[SourceHeader | None, ImageResult]


@dataclass(frozen=True)
class PredictOutcomes:
    """A request's outcomes."""

    request: Request
    served: ServedModel
    outcomes: Sequence[Outcome]
    sources: Sources | None


class PredictFormat(ResponseFormat, ABC):
    """Represents predictions."""

    @abstractmethod
    async def answer(self, predicted: PredictOutcomes) -> Response:
        """Return the response."""


class AllOrNothing(PredictFormat):
    """A format without room for failed images: the whole request fails."""

    @abstractmethod
    async def build(self, predicted: PredictOutcomes, results: Sequence[SourcedResult]) -> Response:
        """Build the response off the event loop."""

    async def answer(self, predicted: PredictOutcomes) -> Response:
        """Return the response, or the most important problem."""
        context, sources = context_of(predicted.request), predicted.sources
        assert sources is not None, "these formats open sources"
        if (problem := _problem_in(predicted.outcomes)) is not None:
            return respond_failure(problem, context)
        answered = [one.result for one in predicted.outcomes if isinstance(one, Prediction)]
        results = [(sources.header_of(result), result) for result in answered]
        with context.timeline.stage("report"):
            return await while_connected(predicted.request, self.build(predicted, results))


def _problem_in(outcomes: Sequence[Outcome]) -> Exception | None:
    failed = [(i, one.error) for i, one in enumerate(outcomes) if isinstance(one, ImageFailure)]
    if not failed:
        return None
    for _, error in failed:
        if len(outcomes) == 1 or problem_type_of(error).status >= SERVER_FAULT:
            return error
    kinds = ", ".join(sorted({problem_type_of(error).slug for _, error in failed}))
    return SomeImagesFailedError(
        f"There is no answer, because {name_positions([index for index, _ in failed])} of "
        f"{len(outcomes)} failed ({kinds}). Leave out failed images, or ask for application/json, "
        "in which each image has a result or a problem."
    )


@dataclass(frozen=True)
class Explained:
    """An explained image, and the method as the request spelt it."""

    result: ImageResult
    order: PictureOrder
    model: ModelRef
    layer: str
    method_asked: str


class ExplainFormat(ResponseFormat, ABC, Generic[Drawn]):
    """Represents explanations."""

    @abstractmethod
    def draw(self, explained: Explained, header: SourceHeader | None) -> Drawn:
        """Render the pictures, on any thread and in any process."""

    @abstractmethod
    def respond(self, drawn: Drawn, served: ServedModel, context: RequestContext) -> Response:
        """Return the response."""


class RenderFormat(ResponseFormat, ABC):
    """Represents rendered radiographs."""

    @abstractmethod
    def respond(self, picture: Picture, request_id: str) -> Response:
        """Return the response."""


def respond_failure(error: Exception, context: RequestContext) -> Response:
    """Answer with an image's problem."""
    context.timeline.fail(problem_type_of(error).slug, of_image=True)
    return error_response(error, context.request_id)
