"""The gateway's JSON answers."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from service.gateway.store.ledger import JobEntry
from service.gateway.store.states import State


class DeliveryAnswer(BaseModel):
    """A job's results on their way to one destination."""

    destination: str
    state: str = Field(description="waiting, delivered or dead.")
    reason: str | None = Field(description="Of the last try that failed.")
    attempts: int
    next_attempt: datetime | None = Field(description="Not before this; null for at once.")
    updated: datetime


class JobAnswer(BaseModel):
    """One received object. It has no UIDs: they identify a study."""

    id: str
    study: str = Field(description="First 12 digits of the SHA-256 of the Study Instance UID.")
    state: State
    reason: str | None = Field(description="Of the last try that failed.")
    attempts: int = Field(description="Tries of the analysis.")
    next_attempt: datetime | None = Field(description="Not before this; null for at once.")
    channel: str = Field(description="dimse, stow or wado; spool if it was taken up again.")
    size_bytes: int
    received: datetime
    updated: datetime
    has_bytes: bool = Field(description="Whether the object is still kept.")
    deliveries: tuple[DeliveryAnswer, ...] = ()
    other_contents: tuple[str, ...] = Field(
        (),
        description="Jobs whose objects have its SOP Instance UID and other content: a sender "
        "reuses UIDs, or an archive changed the header. Not in lists.",
    )


class JobsAnswer(BaseModel):
    """One page of jobs, the newest first."""

    jobs: tuple[JobAnswer, ...]
    next: str | None = Field(description="`before` of the next page; null on the last.")


class PulledAnswer(BaseModel):
    """Outcome of a pulled study."""

    jobs: tuple[str, ...] = Field(description="Ids of the jobs of its radiographs.")
    known: int = Field(description="How many of them had been received before.")
    ignored: int = Field(description="Objects that are not analysed, our own results among them.")
    unreadable: int = Field(description="Objects that are no DICOM that can be filed.")


def job_answer(entry: JobEntry) -> JobAnswer:
    """Return a job's answer."""
    return JobAnswer(
        id=entry.id,
        study=entry.study,
        state=entry.state,
        reason=entry.reason,
        attempts=entry.attempts,
        next_attempt=_moment(entry.next_attempt_s),
        channel=entry.channel,
        size_bytes=entry.size_bytes,
        received=to_datetime(entry.received_s),
        updated=to_datetime(entry.updated_s),
        has_bytes=entry.has_bytes,
        deliveries=tuple(
            DeliveryAnswer(
                destination=way.destination,
                state=way.state,
                reason=way.reason,
                attempts=way.attempts,
                next_attempt=_moment(way.next_attempt_s),
                updated=to_datetime(way.updated_s),
            )
            for way in entry.deliveries
        ),
        other_contents=entry.other_contents,
    )


def to_datetime(moment_s: float) -> datetime:
    """Return UTC, rounded to milliseconds."""
    return datetime.fromtimestamp(round(moment_s, 3), UTC)


def _moment(moment_s: float) -> datetime | None:
    return to_datetime(moment_s) if moment_s else None
