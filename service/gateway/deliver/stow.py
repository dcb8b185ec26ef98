"""Delivery by STOW-RS (PS3.18, 10.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from service.client.bounded_exchange import AnswerRefusedError, Bounds, build_client, exchange
from service.gateway.deliver import stow_answer
from service.gateway.deliver.bearer import auth_for
from service.gateway.destinations import Destination
from service.gateway.header import read_header_of
from service.gateway.work.analysis import TRANSIENT_STATUSES
from service.gateway.work.loop import Failure, GiveUp, TryAgain
from service.multipart import build_related

REFUSED_FOR_GOOD = frozenset({400, 406, 413, 415, 422})
"""A wrong URL or credential (401, 403, 404) is not final: an operator repairs it."""

MAX_ANSWER_BYTES = 262_144
"""A hundred times the response to the two objects of a delivery."""

ANSWERED = frozenset({200, 202, 409})
"""Statuses whose response has a Store Instances Response Module."""


class StowSender:
    """Sends objects to one DICOMweb archive. Any thread."""

    def __init__(
        self, destination: Destination, timeout_s: float, token_file: Path | None = None
    ) -> None:
        url = httpx.URL(destination.url)
        self._url = str(url.copy_with(username=None, password=None)) + "/studies"
        self._bounds = Bounds(timeout_s, MAX_ANSWER_BYTES)
        self._http = build_client(
            timeout=timeout_s,
            trust_env=False,
            auth=auth_for(url, token_file),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, objects: list[bytes]) -> Failure | None:
        """See :meth:`Sender.send`."""
        content_type, body = build_related(objects)
        headers = {"Content-Type": content_type, "Accept": stow_answer.MEDIA_TYPE}
        request: dict[str, Any] = {"content": body, "headers": headers}
        try:
            response = exchange(self._http, self._bounds, method="POST", url=self._url, **request)
        except AnswerRefusedError as error:
            return TryAgain(f"archive-answer-{error.reason}")
        except httpx.TimeoutException:
            return TryAgain("archive-timeout")
        except (httpx.TransportError, RuntimeError):  # RuntimeError: the client was closed
            return TryAgain("archive-unreachable")
        sent = {read_header_of(data).sop_instance_uid for data in objects}
        return judge_answer(response, sent)


def judge_answer(response: httpx.Response, sent: set[str]) -> Failure | None:
    """Return why an instance was not stored, if any; only listed ones (0111 too) count."""
    status = response.status_code
    if status not in ANSWERED:
        if status in REFUSED_FOR_GOOD:
            return GiveUp(f"archive-status-{status}", is_of_object=True)
        again = response if status in TRANSIENT_STATUSES else None
        return TryAgain(f"archive-status-{status}", again)
    try:
        stored, failed = stow_answer.read_stow_answer(response.content)
    except ValueError:
        return TryAgain("archive-answer-not-understood")
    stored |= {uid for uid, reason in failed.items() if reason == stow_answer.DUPLICATE_INSTANCE}
    missing = sent - stored
    if not missing:
        return None
    reasons = {failed.get(uid, 0) for uid in missing}
    reason = f"archive-failure-{max(reasons):04x}" if any(reasons) else "archive-not-all-listed"
    if all(stow_answer.is_refusal(one) for one in reasons):
        return GiveUp(reason, is_of_object=True)
    return TryAgain(reason)
