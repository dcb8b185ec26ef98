"""POST /dicomweb/studies: STOW-RS (PS3.18, 10.5)."""

from __future__ import annotations

import errno
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service.errors import InvalidRequestError
from service.gateway.deliver import stow_answer
from service.gateway.deliver.stow_answer import Failed, Stored
from service.gateway.errors import InsufficientStorageError, UnreadableObjectError
from service.gateway.gateway import Gateway
from service.gateway.header import read_header
from service.gateway.http.context import gateway_of, storing_of
from service.gateway.http.problems import gateway_responses
from service.gateway.http.threads import Threads
from service.gateway.receive.multipart import ReceivedParts
from service.gateway.store.database import DatabaseError
from service.gateway.store.spool import RETRY_FULL_S, Staged
from service.telemetry.timeline import note
from service.web.bodies import BodyRate, receive_body
from service.web.documented import schema_of

router = APIRouter(prefix="/dicomweb", tags=["DICOMweb"])


class StowAnswer(BaseModel):
    """Outcome of each object, in the DICOM JSON model (PS3.18, 10.5.3 and F)."""

    model_config = ConfigDict(extra="allow")


_ANSWER = {"content": {stow_answer.MEDIA_TYPE: {"schema": schema_of(StowAnswer)}}}
_RELATED = "multipart/related"

STORING: dict[str, Any] = {
    "response_class": Response,
    "responses": {
        200: {"description": "All objects are stored.", **_ANSWER},
        202: {"description": "Some objects are stored.", **_ANSWER},
        **gateway_responses(400, 408, 413, 503, 507),
        409: {"description": "No object is stored.", **_ANSWER},
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {_RELATED: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
}
"""What the document says of both routes."""

NO_ROOM = "The gateway has no room for the objects."
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@router.post("/studies", summary="Store objects (STOW-RS)", **STORING)
async def store(request: Request) -> Response:
    """Store objects. The answer lists each stored object, and each failed one with the reason."""
    return await _store(request, None)


@router.post(
    "/studies/{study_instance_uid}", summary="Store objects of one study (STOW-RS)", **STORING
)
async def store_study(study_instance_uid: str, request: Request) -> Response:
    """As above; objects of other studies are refused."""
    return await _store(request, study_instance_uid)


async def _store(request: Request, study: str | None) -> Response:
    gateway, storing = gateway_of(request), storing_of(request)
    await storing.run(gateway.verify_accepting)
    try:
        return await _receive(request, gateway, storing, study)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise InsufficientStorageError(NO_ROOM, RETRY_FULL_S) from None


async def _receive(
    request: Request, gateway: Gateway, storing: Threads, study: str | None
) -> Response:
    settings = gateway.settings
    stored: list[Stored] = []
    failed: list[Failed] = []
    content_type = request.headers.get("content-type", "")
    with ReceivedParts(gateway.spool, content_type, settings.max_instance_bytes) as parts:
        chunks = receive_body(request, settings.max_body_bytes, BodyRate.of(settings))
        async for chunk in chunks:
            for one in await storing.run(_take_whole, gateway, parts, chunk, study):
                if isinstance(one, Stored):
                    stored.append(one)
                else:
                    failed.append(one)
        parts.finish()
    if not stored and not failed:
        raise InvalidRequestError("The body holds no object.")
    if not stored and all(one.reason == stow_answer.OUT_OF_RESOURCES for one in failed):
        raise InsufficientStorageError(NO_ROOM, RETRY_FULL_S)
    note(stored=len(stored), refused=len(failed))
    status = 200 if not failed else 202 if stored else 409
    answer = stow_answer.build_stow_answer(stored, failed)
    return JSONResponse(answer, status, media_type=stow_answer.MEDIA_TYPE)


def _take_whole(
    gateway: Gateway, parts: ReceivedParts, chunk: bytes, study: str | None
) -> list[Stored | Failed]:
    taken = []
    for staged in parts.write(chunk):
        with staged:
            taken.append(_take(gateway, staged, study))
    return taken


def _take(gateway: Gateway, staged: Staged, study: str | None) -> Stored | Failed:
    try:
        if study is not None:
            with staged.reading() as file:
                header = read_header(file)
            if header.study_instance_uid != study:
                return Failed(
                    stow_answer.STUDY_MISMATCH, header.sop_class_uid, header.sop_instance_uid
                )
        taken = gateway.intake.take(staged, "stow")
    except UnreadableObjectError:
        return Failed(stow_answer.CANNOT_UNDERSTAND)
    except InsufficientStorageError:
        return Failed(stow_answer.OUT_OF_RESOURCES)
    except (OSError, DatabaseError) as error:  # logged where it happened
        is_full = isinstance(error, OSError) and error.errno in FULL
        return Failed(stow_answer.OUT_OF_RESOURCES if is_full else stow_answer.PROCESSING_FAILURE)
    return Stored(taken.header.sop_class_uid, taken.header.sop_instance_uid)
