"""The one way from a request for predictions to its results.

Every route reads images in these steps: hold a version of the model, admit the request, receive its
images, read them, answer. The command line and shadows share the last of them,
:func:`build_result`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import TypeAlias, TypeVar

from cxr.bundles.methods import Method
from cxr.errors import CxrError, ImageOutOfScopeError, UnfamiliarPopulationError
from cxr.verdict.conclusion import conclude
from cxr.verdict.decision import Evidence, reach_verdict
from cxr.verdict.operating_point import OperatingPoint
from cxr.verdict.reasons import UNFAMILIAR
from service.answers import (
    ConclusionAnswer,
    ImageResult,
    PopulationAnswer,
    ResultDigest,
    ScopeAnswer,
    Uncertainty,
)
from service.deadline import Deadline
from service.engines.protocol import OutputRow
from service.explain.explaining import Draw, ExplainTask
from service.images.preparation import PreparedImage, prepare_image
from service.lifecycle import Lifecycle
from service.models.loading import LoadedModel
from service.models.models import Models, ServedModel
from service.scheduling.admission import Admission
from service.scheduling.cores import on_bytes
from service.scheduling.lane import Prepare, read_all
from service.telemetry.logs import log_event
from service.telemetry.timeline import ImageTimeline, Timeline

T = TypeVar("T")


@dataclass(frozen=True)
class EncodedImage:
    """One image of a request: the bytes of a file, or the error why there are none."""

    id: str
    data: bytes
    error: Exception | None = None


@dataclass(frozen=True)
class ImageFailure:
    """One image that failed alone."""

    id: str
    error: Exception


@dataclass(frozen=True)
class Prediction:
    """One image with its answer, as the core that read it gives it.

    Attributes:
        digest: What is counted of it.
        encoded: The result as JSON.
        row: None unless it is needed afterwards, and so is ``image``.
    """

    digest: ResultDigest
    encoded: bytes
    row: OutputRow | None = None
    image: PreparedImage | None = None

    @cached_property
    def result(self) -> ImageResult:
        """The result."""
        return ImageResult.model_validate_json(self.encoded)


Outcome: TypeAlias = Prediction | ImageFailure


class Predictor:
    """Reads the images of requests. Belongs to the event loop.

    ``offer`` takes every answer for comparison by shadows; it is None without any.
    """

    def __init__(
        self,
        models: Models,
        lifecycle: Lifecycle,
        admission: Admission,
        max_pixels: int,
        offer: Callable[[ServedModel, PreparedImage, ImageResult], None] | None = None,
    ) -> None:
        self.models = models
        self.lifecycle = lifecycle
        self.admission = admission
        self.max_pixels = max_pixels
        self.offer = offer

    @contextmanager
    def accept(
        self,
        deadline: Deadline,
        timeline: Timeline,
        model: str | None,
        operating_point: str | None = None,
        *,
        version: str | None = None,
    ) -> Iterator[PredictionRequest]:
        """Accept a request: it is answered to the end, whatever is stopped or switched meanwhile.

        ``model`` is ``name``, ``name@version`` or None for the default; ``version`` a number that
        is not part of the name.

        Raises:
            NotReadyError: No requests are accepted.
            UnknownModelError: The model is not loaded.
            InvalidRequestError: The model has no such operating point.
        """
        with self.lifecycle.accepted_request(), self.models.using(model, version) as served:
            bundle = served.loaded.bundle
            timeline.model = (served.name, bundle.sha256)
            timeline.reference = served.manifest.reference
            timeline.fields |= {"model": served.name, "model_version": served.manifest.version}
            point = served.operating_point(operating_point)
            yield PredictionRequest(self, served, point, deadline, timeline)


@dataclass
class PredictionRequest:
    """A request that was accepted."""

    predictor: Predictor
    served: ServedModel
    point: OperatingPoint
    deadline: Deadline
    timeline: Timeline

    def admit(self) -> AbstractContextManager[None]:
        """Admit the request and count it among the work ahead while its body is received.

        Raises:
            QueueFullError: There is no room, or it would be answered too late.
        """
        in_flight, admission = self.served.lane.in_flight, self.predictor.admission
        everything = (model.lane.in_flight for model in self.predictor.models.held)
        admission.verify(in_flight, everything, self.deadline)
        return in_flight.receiving(admission.max_wait_s)

    async def read(
        self, images: Sequence[EncodedImage], *, keep_row: bool = False, keep_picture: bool = False
    ) -> list[Outcome]:
        """Decode, run and judge images; return one outcome for each, in their order.

        If the caller is cancelled, work that has not begun is dropped. ``keep_row`` keeps what
        the engine answered, ``keep_picture`` also what an explanation is drawn on.

        Raises:
            QueueFullError: There is no room for all of them; nothing was queued.
            NotReadyError: The service is stopping.
        """
        prepare = partial(
            prepare_image,
            spec=self.served.manifest.preprocessing,
            max_pixels=self.predictor.max_pixels,
            keep_picture=keep_picture,
        )
        return await self.read_prepared(
            [
                (
                    image.id,
                    image.error or on_bytes(prepare, image.data),
                )
                for image in images
            ],
            keep_row=keep_row or keep_picture,
            keep_image=keep_picture,
        )

    async def read_prepared(
        self,
        images: Sequence[tuple[str, Prepare | Exception]],
        *,
        keep_row: bool = False,
        keep_image: bool = False,
    ) -> list[Outcome]:
        """Do the same with what prepares each image, or why there is none, under its id."""
        keep_image = keep_image or self.predictor.offer is not None
        timelines = self.timeline.add_images(len(images))
        judge = partial(
            _judge, self.served.loaded, self.point, keep_row=keep_row, keep_image=keep_image
        )
        work = [
            (prepare, partial(judge, image_id))
            for image_id, prepare in images
            if not isinstance(prepare, Exception)
        ]
        running = [
            timeline
            for timeline, (_, prepare) in zip(timelines, images, strict=True)
            if not isinstance(prepare, Exception)
        ]
        read = iter(await read_all(self.served.lane, work, self.deadline, running))
        outcomes: list[Outcome] = []
        for (image_id, prepare), timeline in zip(images, timelines, strict=True):
            found = prepare if isinstance(prepare, Exception) else next(read)
            outcomes.append(self._tell(image_id, found, timeline))
        return outcomes

    def _tell(
        self, image_id: str, found: Prediction | Exception, timeline: ImageTimeline
    ) -> Outcome:
        if isinstance(found, Exception):
            if not isinstance(found, CxrError):
                log_event(logging.ERROR, "unexpected error", found)
            timeline.error = found
            return ImageFailure(image_id, found)
        timeline.result = found.digest
        if self.predictor.offer is not None and found.image is not None:
            self.predictor.offer(self.served, found.image, found.result)
        return found

    async def explain(
        self, prediction: Prediction, target: int, method: Method, draw: Draw[T]
    ) -> T:
        """Explain the answer for an image, for the class in column ``target``, and draw it.

        If the caller is cancelled, its image is taken out of the queue.

        Raises:
            CxrError: As :meth:`Explaining.explain`.
        """
        assert prediction.image is not None, "it is kept"
        assert prediction.row is not None, "it is kept"
        task = ExplainTask(prediction.image.model_input, target, method)
        explaining = self.served.verify_explains()
        return await explaining.explain(task, prediction.row, draw, self.deadline)


def _judge(
    model: LoadedModel,
    point: OperatingPoint,
    image_id: str,
    image: PreparedImage,
    row: OutputRow,
    *,
    keep_row: bool,
    keep_image: bool,
) -> Prediction:
    """Finish one image. Any core."""
    result = build_result(image_id, image, row, model, point)
    encoded = result.model_dump_json().encode()
    kept = (row if keep_row else None, image if keep_image else None)
    return Prediction(ResultDigest.of(result), encoded, *kept)


def build_result(
    image_id: str,
    image: PreparedImage,
    row: OutputRow,
    model: LoadedModel,
    point: OperatingPoint,
    *,
    may_refuse: bool = True,
) -> ImageResult:
    """Judge what a model's engine answered for one image.

    Raises:
        ImageOutOfScopeError: The model was not made for the picture, and ``may_refuse`` such.
    """
    rules = model.rules
    by_class = dict(zip(rules.task.classes, map(float, row.probabilities), strict=True))
    evidence = Evidence(by_class, row.embedding, image.layout, image.scope, image.dicom)
    verdict = reach_verdict(evidence, rules, point)
    codes = tuple(reason.code for reason in verdict.reasons)
    is_unfamiliar = UNFAMILIAR in codes
    refuses = rules.unfamiliar == "refuse" if is_unfamiliar else model.refuses
    if may_refuse and codes and refuses:
        kind = UnfamiliarPopulationError if is_unfamiliar else ImageOutOfScopeError
        raise kind(" ".join(reason.text for reason in verdict.reasons), codes[0])
    belongs = verdict.population
    words = conclude(verdict, rules.task, by_class, point, rules.referral)
    return ImageResult(
        id=image_id,
        finding=rules.task.positive,
        label=verdict.label,
        decision=verdict.decision,
        conclusion=ConclusionAnswer(**asdict(words)),
        probability=verdict.probability,
        probabilities=by_class,
        operating_point=point,
        uncertainty=Uncertainty(
            prediction_set=verdict.prediction_set,
            coverage=rules.referral.coverage,
            refer_band=rules.referral.band(point, rules.task.positive),
        ),
        scope=ScopeAnswer(
            in_scope=not verdict.reasons,
            reasons=tuple(reason.text for reason in verdict.reasons),
            codes=codes,
        ),
        population=None
        if belongs is None
        else PopulationAnswer(name=belongs.name, who=belongs.who, validated=belongs.validated),
        warnings=(*image.warnings, *verdict.warnings),
        image=image.facts,
    )
