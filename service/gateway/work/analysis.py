"""One object through the service: results, a reason to try again, or a reason to give up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from service.client.bounded_exchange import AnswerRefusedError, Bounds, build_client, exchange
from service.client.exchange import (
    ServiceError,
    build_explain_request,
    retry_after_s,
    verify_success,
)
from service.errors import InvalidRequestError, PayloadTooLargeError
from service.multipart import DICOM, split_related
from service.telemetry.tracing import span, trace_headers

ACCEPT = f'multipart/related; type="{DICOM}"'

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
BUSY_STATUSES = frozenset({429, 503})
NOT_LET_IN = frozenset({401, 403})
"""The gateway's key is wrong or worn out, which its operator mends: no object is to blame."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024  # a report and a picture of at most 1,024 px: a tenth of it
MAX_OBJECTS = 8  # four times as many as are made

UNREACHABLE = "service-unreachable"
OBJECT_STATUSES = frozenset({400, 413, 415, 422})
"""The object itself is refused, not the way it was asked about."""


@dataclass(frozen=True)
class TryAgain:
    """A passing state.

    Attributes:
        reason: What it was, a constant of ours or the end of a problem's type.
        response: The answer, if there was one; it may say when to come again.
    """

    reason: str
    response: httpx.Response | None = None

    @property
    def is_of_service(self) -> bool:
        """Whether the service is busy or away, whatever the object."""
        if self.response is None:
            return self.reason == UNREACHABLE
        return self.response.status_code in BUSY_STATUSES | NOT_LET_IN

    @property
    def asked_s(self) -> float:
        """The answer's Retry-After, 0 without one; a date (RFC 9110, 10.2.3) is not read."""
        return (retry_after_s(self.response) or 0.0) if self.response is not None else 0.0


@dataclass(frozen=True)
class GiveUp:
    """A refusal for good.

    Attributes:
        reason: The end of the problem's type.
        is_of_object: Whether the object is refused, and not the request.
    """

    reason: str
    is_of_object: bool


class Analysis:
    """Asks the service. Any thread.

    Args:
        service_url: Where it is.
        timeout_s: Longest time of a request with its answer.
        model: Name of the model; empty for the service's default.
        operating_point: Its name; empty for the model's default.
        connections: How many may be open.
        auth: Shows the service who asks.
    """

    def __init__(
        self,
        service_url: str,
        timeout_s: float,
        *,
        model: str = "",
        operating_point: str = "",
        connections: int = 4,
        auth: httpx.Auth | None = None,
    ) -> None:
        self._bounds = Bounds(timeout_s, MAX_ANSWER_BYTES)
        self._http = build_client(
            base_url=service_url,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=connections),
            auth=auth,
            trust_env=False,  # no proxy shall see a patient's object unless it is configured here
        )
        self._query: dict[str, str | float | None] = {
            "model": model or None,
            "operating_point": operating_point or None,
        }

    def close(self) -> None:
        """Close the connections; calls under way fail."""
        self._http.close()

    def analyse(self, data: bytes) -> list[bytes] | TryAgain | GiveUp:
        """Send one Part 10 file and give the objects made of it."""
        request: dict[str, Any] = build_explain_request(data, ACCEPT, **self._query)
        request["headers"] |= {"Content-Type": DICOM}
        try:
            with span("analyse"):
                request["headers"] |= trace_headers()
                response = exchange(self._http, self._bounds, **request)
        except AnswerRefusedError as error:
            return TryAgain(f"service-answer-{error.reason}")
        except httpx.TimeoutException:
            return TryAgain("service-timeout")
        except (httpx.TransportError, RuntimeError):  # RuntimeError: the client was closed
            return TryAgain(UNREACHABLE)
        return _judge(response)


def _judge(response: httpx.Response) -> list[bytes] | TryAgain | GiveUp:
    try:
        return _objects_of(verify_success(response))
    except (InvalidRequestError, PayloadTooLargeError):
        return TryAgain("service-answer-not-understood")
    except ServiceError as error:
        reason = reason_of(error)
        if error.status in TRANSIENT_STATUSES | NOT_LET_IN:
            return TryAgain(reason, response)
        return GiveUp(reason, is_of_object=error.status in OBJECT_STATUSES)


def reason_of(error: ServiceError) -> str:
    """Give the stable end of a problem's type; its words may be anything."""
    slug = error.type.rpartition("#")[2]
    known = slug.replace("-", "").isalnum() and slug.isascii() and len(slug) <= 40
    return f"service-{slug if known and '#' in error.type else error.status}"


def _objects_of(response: httpx.Response) -> list[bytes]:
    content_type = response.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() == DICOM:
        return [response.content]
    made = split_related(content_type, response.content, MAX_OBJECTS)
    if not made:
        raise InvalidRequestError("The service made nothing.")
    return made
