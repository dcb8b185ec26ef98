"""What is known of the request that is being worked on, for its log lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RequestNotes:
    """One request, as its log lines tell it.

    Attributes:
        request_id: In every line of the request.
        trace_id: In every line, too, if it is traced.
        fields: Further members of its one canonical line.
    """

    request_id: str
    trace_id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


_CURRENT: ContextVar[RequestNotes | None] = ContextVar("request_notes", default=None)


@contextmanager
def noting(notes: RequestNotes) -> Iterator[None]:
    """Work on a request inside: threads and tasks begun there know it, too."""
    token = _CURRENT.set(notes)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def identity() -> dict[str, str]:
    """Give the members every line of the present request has, none outside one."""
    notes = _CURRENT.get()
    if notes is None:
        return {}
    if notes.trace_id is None:
        return {"request_id": notes.request_id}
    return {"request_id": notes.request_id, "trace_id": notes.trace_id}


def note(**fields: Any) -> None:
    """Add members to the present request's canonical line; outside one nothing happens."""
    notes = _CURRENT.get()
    if notes is not None:
        notes.fields.update(fields)
