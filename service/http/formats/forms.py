"""Answers as DICOM objects and FHIR resources, for those whose Accept header asks for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from cxr.errors import InputError, UnreadableImageError
from cxr.images.decoding import SNIFF_BYTES, sniff_format
from service.answers import ImageResult
from service.deadline import Deadline
from service.dicom.fhir import build_fhir
from service.dicom.results import REPORT_SYNTAX, build_report, can_build_reports, can_code
from service.dicom.source import SourceHeader, read_source
from service.errors import (
    DicomResultsDisabledError,
    NotAcceptableError,
    SomeImagesFailedError,
)
from service.http.context import runtime_of
from service.models.models import ServedModel
from service.models.predictor import EncodedImage, ImageFailure, Outcome, Prediction
from service.scheduling.core_pool import CorePool
from service.settings import Settings
from service.web.problems import SERVER_FAULT, error_response, problem_type_of
from service.web.requests import context_of

JSON = "application/json"
DICOM = "application/dicom"
MULTIPART_DICOM = 'multipart/related; type="application/dicom"'
FHIR = "application/fhir+json"

VARY = {"Vary": "Accept"}


class Sources:
    """The DICOM headers of a request's images, read while their bytes are there.

    Args:
        form: Media type of the answer: DICOM needs a header of each image, FHIR uses what
            there are.
    """

    def __init__(self, form: str) -> None:
        self.form = form
        self._headers: dict[str, SourceHeader] = {}

    async def read(
        self, images: Sequence[EncodedImage], pool: CorePool, deadline: Deadline
    ) -> None:
        """Read the headers on the pool; those of images that cannot be read are left out.

        Raises:
            NotAcceptableError: The answer cannot be had for these images.
            DeadlineExceededError: There was no time left.
        """
        kinds = [sniff_format(image.data[:SNIFF_BYTES]) for image in images]
        if self.form == DICOM and len(images) > 1:
            raise NotAcceptableError(
                f"The request holds {len(images)} images, and {DICOM} is one object. Ask for "
                f"{MULTIPART_DICOM}, or send each image by itself."
            )
        if self.form != FHIR:
            others = [
                index
                for index, (image, kind) in enumerate(zip(images, kinds, strict=True))
                if image.error is None and kind != "dicom"
            ]
            if others:
                raise NotAcceptableError(
                    "DICOM objects are made for DICOM images only: they take over patient and "
                    f"study. No DICOM: {_positions(others)}. Send DICOM, or ask for {JSON}."
                )
        dicom = [image for image, kind in zip(images, kinds, strict=True) if kind == "dicom"]
        if dicom:
            self._headers = await pool.run(partial(_read_headers, dicom), deadline)

    def header_of(self, result: ImageResult) -> SourceHeader | None:
        """Give the header of a result's image, None if that is no DICOM.

        Raises:
            UnreadableImageError: It is, and has a header that cannot be read.
        """
        header = self._headers.get(result.id)
        if header is None and (self.form != FHIR or result.image.format == "dicom"):
            raise UnreadableImageError(
                "The DICOM header cannot be read as a whole. Send the complete Part 10 file, or "
                f"ask for {JSON}."
            )
        return header


def _read_headers(images: Sequence[EncodedImage]) -> dict[str, SourceHeader]:
    headers = {}
    for image in images:
        try:
            headers[image.id] = read_source(image.data)
        except InputError:  # decoding it will say why
            continue
    return headers


def _positions(indexes: Sequence[int]) -> str:
    """Name images by their place in the request: ids are the client's words."""
    named = ", ".join(str(index + 1) for index in indexes)
    return f"image {named}" if len(indexes) == 1 else f"images {named}"


def choose_sources(
    request: Request, form: str, served: ServedModel, *, reports: bool = True
) -> Sources:
    """Give what collects the headers for an answer, refused before the body is read.

    Args:
        request: The request.
        form: Media type of the answer.
        served: The model.
        reports: Whether DICOM answers hold a structured report.

    Raises:
        DicomResultsDisabledError: Such an answer is not served, here or for this model.
    """
    settings = runtime_of(request).settings
    name, positive = served.manifest.name, served.manifest.task.positive
    if form != FHIR and not offers_dicom(settings, reports=reports):
        raise DicomResultsDisabledError(
            f"DICOM reports are not served here. Ask for {JSON} or, on /v1/predict, {FHIR}."
        )
    if not can_code(positive):
        raise DicomResultsDisabledError(
            f"There is no code for what model {name} finds. Ask for {JSON}."
        )
    return Sources(form)


def offers_dicom(settings: Settings, *, reports: bool) -> bool:
    """Tell whether DICOM answers are served; those with a report need highdicom."""
    return settings.dicom_results != "off" and (not reports or can_build_reports())


async def respond_in_form(
    request: Request,
    outcomes: Sequence[Outcome],
    sources: Sources,
    served: ServedModel,
) -> Response:
    """Answer with objects or resources, one for each image; with a problem if one failed."""
    context = context_of(request)
    if (problem := _problem_in(outcomes)) is not None:
        context.timeline.fail(problem_type_of(problem).slug, of_image=True)
        return error_response(problem, context.request_id)
    results = [one.result for one in outcomes if isinstance(one, Prediction)]
    pairs = [(sources.header_of(result), result) for result in results]
    model = served.reference
    run = partial(runtime_of(request).pool.run, deadline=context.deadline)
    with context.timeline.stage("report"):
        if sources.form == FHIR:
            resource = await run(partial(build_fhir, pairs, model))
            body = json.dumps(resource, ensure_ascii=False, allow_nan=False).encode()
            return Response(body, media_type=FHIR, headers=VARY)
        reports = []
        for header, result in pairs:  # one at a time: others' work comes in between
            assert header is not None, "Sources has one for every image"
            reports.append(await run(partial(build_report, header, result, model)))
    return respond_with_objects([(report, REPORT_SYNTAX) for report in reports], sources.form)


def _problem_in(results: Sequence[Outcome]) -> Exception | None:
    """Choose what a request is answered with of which an image failed.

    What may be tried again comes first: clients go by the status.
    """
    failed = [(i, one.error) for i, one in enumerate(results) if isinstance(one, ImageFailure)]
    if not failed:
        return None
    for _, error in failed:
        if len(results) == 1 or problem_type_of(error).status >= SERVER_FAULT:
            return error
    kinds = ", ".join(sorted({problem_type_of(error).slug for _, error in failed}))
    return SomeImagesFailedError(
        f"Nothing was made, because {_positions([index for index, _ in failed])} of "
        f"{len(results)} failed ({kinds}). Leave out what failed, or ask for {JSON}, in which each "
        "image has a result or a problem."
    )


def respond_with_objects(objects: Sequence[tuple[bytes, str]], form: str) -> Response:
    """Answer with DICOM objects: one as it is, or all as parts (RFC 2387; PS3.18, 8.6.1).

    Args:
        objects: Part 10 files with their transfer syntaxes.
        form: ``DICOM``, which takes the first, or ``MULTIPART_DICOM``.
    """
    if form == DICOM:
        data, syntax = objects[0]
        return Response(data, media_type=f"{DICOM}; transfer-syntax={syntax}", headers=VARY)
    # Of the content, so that a repeat is the same and no part holds it.
    boundary = hashlib.sha256(b"".join(data for data, _ in objects)).hexdigest()
    body = b"".join(
        f"--{boundary}\r\nContent-Type: {DICOM}; transfer-syntax={syntax}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
        + b"\r\n"
        for data, syntax in objects
    )
    return Response(
        body + f"--{boundary}--\r\n".encode(),
        media_type=f"{MULTIPART_DICOM}; boundary={boundary}",
        headers=VARY,
    )
