"""Analysis of an object by the service over HTTP."""

from __future__ import annotations

from typing import Any, Protocol

import httpx

from service.client.bounded_exchange import AnswerRefusedError, Bounds, build_client, exchange
from service.client.exchange import (
    ServiceError,
    build_explain_request,
    build_report_request,
    verify_success,
)
from service.errors import InvalidRequestError, PayloadTooLargeError
from service.gateway.work.loop import Failure, GiveUp, TryAgain
from service.multipart import DICOM, split_related
from service.telemetry.tracing import span, trace_headers

ACCEPT = f'multipart/related; type="{DICOM}"'

TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
BUSY_STATUSES = frozenset({429, 503})
UNAUTHORIZED_STATUSES = frozenset({401, 403})
"""The gateway's key is wrong or expired, which its operator repairs: no object is to blame."""

OBJECT_STATUSES = frozenset({400, 413, 415, 422})
"""The object itself was refused."""

NO_HEATMAPS = 501
"""The service shows none, or none of this model: a report is made without a picture."""

UNREACHABLE = "service-unreachable"
MAX_ANSWER_BYTES = 16 * 1024 * 1024  # ten times a report and a picture of at most 1,024 px
MAX_OBJECTS = 8  # four times as many as are made


class Analyses(Protocol):
    """Analyses objects. Any thread."""

    def analyse(self, data: bytes) -> list[bytes] | Failure:
        """Return the objects made of one Part 10 file, or why there are none."""


class Analysis:
    """Has the service analyse objects. Any thread."""

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
            trust_env=False,  # patients' objects go through no proxy of the environment
        )
        self._query: dict[str, str | float | None] = {
            "model": model or None,
            "operating_point": operating_point or None,
        }

    def close(self) -> None:
        """Close connections; requests in flight fail."""
        self._http.close()

    def analyse(self, data: bytes) -> list[bytes] | Failure:
        """See :meth:`Analyses.analyse`."""
        request = build_explain_request(data, ACCEPT, **self._query)
        try:
            with span("analyse"):
                response = self._ask(request)
                if response.status_code == NO_HEATMAPS:
                    response = self._ask(build_report_request(data, DICOM, **self._query))
        except AnswerRefusedError as error:
            return TryAgain(f"service-answer-{error.reason}")
        except httpx.TimeoutException:
            return TryAgain("service-timeout")
        except (httpx.TransportError, RuntimeError):  # RuntimeError: the client was closed
            return TryAgain(UNREACHABLE)
        return _judge(response)

    def _ask(self, request: dict[str, Any]) -> httpx.Response:
        request["headers"] |= {"Content-Type": DICOM} | trace_headers()
        return exchange(self._http, self._bounds, **request)


def _judge(response: httpx.Response) -> list[bytes] | Failure:
    try:
        return _objects_of(verify_success(response))
    except (InvalidRequestError, PayloadTooLargeError):
        return TryAgain("service-answer-not-understood")
    except ServiceError as error:
        reason = _reason(error)
        if error.status in TRANSIENT_STATUSES | UNAUTHORIZED_STATUSES:
            return TryAgain(reason, response)
        return GiveUp(reason, is_of_object=error.status in OBJECT_STATUSES)


def _reason(error: ServiceError) -> str:
    # The slug of the problem type; other text could be anything.
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
