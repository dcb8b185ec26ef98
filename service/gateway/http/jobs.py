"""Jobs: list, show, retry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request

from service.errors import InvalidRequestError
from service.gateway.http.answers import JobAnswer, JobsAnswer, job_answer
from service.gateway.http.context import gateway_of
from service.gateway.http.problems import gateway_responses
from service.gateway.store.states import State

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

LARGEST_PAGE = 500


@router.get("", summary="List jobs", responses=gateway_responses(400))
def list_jobs(
    request: Request,
    state: State | None = None,
    before: str | None = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 50,
) -> JobsAnswer:
    """Jobs, the newest first, in pages: pass `next` on as `before`."""
    if before is not None and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise InvalidRequestError("The parameter before is not one that a page gave as next.")
    entries = gateway_of(request).ledger.page(
        state, int(before) if before is not None else None, limit + 1
    )
    shown = entries[:limit]
    return JobsAnswer(
        jobs=tuple(job_answer(entry) for entry in shown),
        next=str(shown[-1].seq) if len(entries) > limit else None,
    )


@router.get("/{job_id}", summary="Show a job", responses=gateway_responses(404))
def show_job(job_id: str, request: Request) -> JobAnswer:
    """One job with its deliveries."""
    return job_answer(gateway_of(request).ledger.get(job_id))


@router.post("/{job_id}:retry", summary="Retry a dead job", responses=gateway_responses(404, 409))
def retry_job(job_id: str, request: Request) -> JobAnswer:
    """Retry a dead job where it failed: its analysis, or its dead deliveries."""
    gateway = gateway_of(request)
    entry = gateway.ledger.retry(job_id)
    gateway.signals.analysis.ring()
    gateway.signals.delivery.ring()
    return job_answer(entry)
