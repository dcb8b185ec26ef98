"""One exchange with the service: the request, the answer or problem, and when to try again."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from service.answers import Problem
from service.errors import InvalidRequestError, PayloadTooLargeError
from service.multipart import split_related

JSON = "application/json"

AnyAnswer = TypeVar("AnyAnswer", bound=BaseModel)

ImageSource: TypeAlias = bytes | str | Path
"""The bytes of a file, or its path."""

MAX_COMMAS = 200_000
"""Of an answer: one on 4,096 images, the most a request may have, has 90,000."""

RETRIED_STATUSES = frozenset({429, 502, 503})
"""502 is a proxy's: the replica it asked has died."""
RETRIED_ERRORS = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""A prediction changes nothing, so it may be sent again whatever became of the first."""


class ServiceError(Exception):
    """The service answered with a problem.

    Attributes:
        status: HTTP status.
        type: Stable identifier of the kind of problem; ``about:blank`` for an answer that is
            not the service's own, a proxy's for instance.
        detail: What was wrong, and what to do.
        request_id: To quote when asking for help, if known.
    """

    def __init__(self, status: int, type: str, detail: str, request_id: str | None = None) -> None:
        super().__init__(f"{status} {type}: {detail}")
        self.status = status
        self.type = type
        self.detail = detail
        self.request_id = request_id


def retry_after_s(response: httpx.Response) -> float | None:
    """Give an answer's Retry-After; None without one, and for a date (RFC 9110, 10.2.3)."""
    wanted = response.headers.get("retry-after", "").strip()
    return float(wanted) if wanted.isdecimal() and wanted.isascii() else None


@dataclass(frozen=True)
class Retry:
    """When and how often to try again.

    Attributes:
        attempts: Tries altogether.
        base_s: Mean of the first wait; it doubles from try to try.
        longest_s: Longest wait, also of one the service asks for.
    """

    attempts: int = 4
    base_s: float = 0.2
    longest_s: float = 30.0

    def delay_s(self, attempt: int, response: httpx.Response | None) -> float | None:
        """Give the wait after a try.

        Args:
            attempt: Its number, from 1.
            response: What was answered, None for a failed connection.

        Returns:
            None if there shall be no other try.
        """
        if attempt >= self.attempts:
            return None
        if response is not None:
            if response.status_code not in RETRIED_STATUSES:
                return None
            if (wanted_s := retry_after_s(response)) is not None:
                return min(wanted_s, self.longest_s)
        # Jitter keeps clients that failed together from coming back together.
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        return min(self.longest_s, self.base_s * 2.0 ** (attempt - 1) * jitter)


class BearerAuth(httpx.Auth):
    """Shows a key or token with each request (RFC 6750, 2.1).

    Args:
        read: Gives it; called for each request, so it may change.
    """

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self._read()}"
        yield request


def bearer(api_key: str | httpx.Auth | None) -> httpx.Auth | None:
    """Give what shows a key; None for none."""
    return BearerAuth(lambda: api_key) if isinstance(api_key, str) else api_key


def build_predict_request(
    images: ImageSource | list[ImageSource],
    model: str | None,
    operating_point: str | None,
    accept: str = JSON,
) -> dict[str, Any]:
    """Give httpx's arguments of a prediction. Reads the files, so it may block.

    Args:
        images: One image, or several.
        model: ``name`` or ``name@version``; the service's default.
        operating_point: Name of an operating point; the model's default.
        accept: Media type of the answer.

    Raises:
        OSError: A file cannot be read.
    """
    request = _post("/v1/predict", model=model, operating_point=operating_point)
    if isinstance(images, list):
        # Without file names, which may be names of patients, ids are positions.
        request["files"] = [
            ("files", (None, _read(image), "application/octet-stream")) for image in images
        ]
    else:
        request |= _raw_body(images)
    return _accepting(request, accept)


def build_explain_request(
    image: ImageSource, accept: str = JSON, **query: str | float | None
) -> dict[str, Any]:
    """Give httpx's arguments of an explanation. Reads the file, so it may block.

    Args:
        image: The image.
        accept: Media type of the answer.
        **query: Of the URL; None is left out.

    Raises:
        OSError: The file cannot be read.
    """
    return _accepting(_post("/v1/explain", **query) | _raw_body(image), accept)


def _accepting(request: dict[str, Any], accept: str) -> dict[str, Any]:
    return request | {"headers": {**request.get("headers", {}), "Accept": accept}}


def _post(url: str, **query: str | float | None) -> dict[str, Any]:
    given = {name: value for name, value in query.items() if value is not None}
    return {"method": "POST", "url": url, "params": given}


def _raw_body(image: ImageSource) -> dict[str, Any]:
    return {"content": _read(image), "headers": {"Content-Type": "application/octet-stream"}}


def _read(image: ImageSource) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def split_dicom(response: httpx.Response) -> list[bytes]:
    """Return the DICOM objects of an answer, Part 10 files, in their order.

    Raises:
        ServiceError: The answer is not multipart/related of application/dicom.
    """
    try:
        return split_related(response.headers.get("content-type", ""), response.content)
    except (InvalidRequestError, PayloadTooLargeError):
        raise _not_understood(response) from None


def verify_success(response: httpx.Response) -> httpx.Response:
    """Pass a good response on.

    Raises:
        ServiceError: It is none. Its status is the answer's, whatever the problem says.
    """
    if response.is_success:
        return response
    status = response.status_code
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        raise ServiceError(status, "about:blank", response.reason_phrase) from None
    raise ServiceError(status, problem.type, problem.detail, problem.request_id)


def parse_answer(model: type[AnyAnswer], response: httpx.Response) -> AnyAnswer:
    """Read a good answer.

    Raises:
        ServiceError: It is not the service's.
    """
    # Each of millions of wrong values would be an error to gather, of half a kilobyte.
    if response.content.count(b",") > MAX_COMMAS:
        raise _not_understood(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError:
        raise _not_understood(response) from None


def _not_understood(response: httpx.Response) -> ServiceError:
    return ServiceError(response.status_code, "about:blank", "The answer is not the service's.")
