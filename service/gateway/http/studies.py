"""Pull and analyse studies."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request

from service.errors import InvalidRequestError
from service.gateway.errors import SourceUnavailableError
from service.gateway.gateway import Gateway
from service.gateway.header import UID_FORM
from service.gateway.http.answers import PulledAnswer
from service.gateway.http.context import gateway_of, pulls_of
from service.gateway.http.problems import gateway_responses
from service.gateway.receive.pull import pull_study

router = APIRouter(prefix="/v1/studies", tags=["studies"])


@router.post(
    "/{study_instance_uid}:analyze",
    status_code=202,
    summary="Pull and analyse a study",
    responses=gateway_responses(400, 404, 413, 429, 502, 503, 507),
)
async def analyze_study(study_instance_uid: str, request: Request) -> PulledAnswer:
    """Fetch a study by WADO-RS. Answered once its objects are in the inbox."""
    if len(study_instance_uid) > 64 or not UID_FORM.fullmatch(study_instance_uid):
        raise InvalidRequestError("The Study Instance UID is malformed.")
    gateway = gateway_of(request)
    return await pulls_of(request).run(lambda: _pull(gateway, study_instance_uid))


def _pull(gateway: Gateway, study_instance_uid: str) -> PulledAnswer:
    gateway.verify_accepting()
    settings = gateway.settings
    if not settings.wado_url:
        raise SourceUnavailableError("No source is configured: set CXR_GATEWAY_WADO_URL.")
    taken = list(
        pull_study(
            settings.wado_url,
            study_instance_uid,
            gateway.intake,
            timeout_s=settings.delivery_timeout_s,
            longest_s=settings.pull_max_s,
            max_instance_bytes=settings.max_instance_bytes,
            max_body_bytes=settings.max_body_bytes,
            token_file=Path(settings.wado_token_file) if settings.wado_token_file else None,
        )
    )
    outcomes = [one.outcome for one in taken if one is not None]
    return PulledAnswer(
        jobs=tuple(one.job_id for one in taken if one is not None and one.job_id is not None),
        known=outcomes.count("known"),
        ignored=outcomes.count("ignored"),
        unreadable=taken.count(None),
    )
