"""Requests, answers, problems and retries."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar

import httpx
import httpx_retries
from pydantic import BaseModel, ValidationError

from cxr.bundles.methods import Method
from service.answers import ExplainAnswer, ModelAnswer, ModelsAnswer, PredictAnswer, Problem
from service.errors import InvalidRequestError, PayloadTooLargeError
from service.multipart import MULTIPART_DICOM, split_related

JSON = "application/json"
OCTETS = "application/octet-stream"

AnyAnswer = TypeVar("AnyAnswer", bound=BaseModel)
Parsed = TypeVar("Parsed")

ImageSource: TypeAlias = bytes | str | Path
"""The bytes of a file, or its path."""

Images: TypeAlias = ImageSource | list[ImageSource]

MAX_COMMAS = 200_000
"""Most in an answer: one for 4,096 images, the most of a request, has 90,000."""

RETRIED_STATUSES = frozenset({429, 502, 503})
"""502 comes from a proxy whose replica has died."""
RETRIED_ERRORS = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""Predictions are idempotent, so a POST may be repeated whatever became of the first."""


class ServiceError(Exception):
    """The service answered with a problem.

    Attributes:
        type: Kind of problem; ``about:blank`` if the answer is not the service's.
        detail: What was wrong, and what to do.
        request_id: Quote it when asking for help.
    """

    def __init__(self, status: int, type: str, detail: str, request_id: str | None = None) -> None:
        super().__init__(f"{status} {type}: {detail}")
        self.status = status
        self.type = type
        self.detail = detail
        self.request_id = request_id


def retry_after_s(response: httpx.Response) -> float | None:
    """Return Retry-After in seconds; None if absent or a date (RFC 9110, 10.2.3)."""
    wanted = response.headers.get("retry-after", "").strip()
    return float(wanted) if wanted.isdecimal() and wanted.isascii() else None


@dataclass(frozen=True)
class Retry:
    """When and how often to retry.

    Attributes:
        attempts: Total tries.
        base_s: Mean of the first wait, which doubles.
        longest_s: Longest wait, even if the service asks for more.
    """

    attempts: int = 4
    base_s: float = 0.2
    longest_s: float = 30.0

    def delay_s(self, attempt: int, response: httpx.Response | None) -> float:
        """Return the wait after a try, numbered from 1; the response is None if it failed."""
        asked_s = retry_after_s(response) if response is not None else None
        if asked_s is not None:
            return min(asked_s, self.longest_s)
        # Jitter keeps clients that failed together from coming back together.
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        return min(self.longest_s, self.base_s * 2.0 ** (attempt - 1) * jitter)


class Tries(httpx_retries.Retry):
    """A :class:`Retry` for httpx-retries, with our waits.

    The library's jitter goes down to 0, and it ignores ``Retry-After: 0``.
    """

    def __init__(self, rules: Retry, sleep: Callable[[float], Any], made: int = 0) -> None:
        super().__init__(
            total=max(rules.attempts - 1, 0),
            allowed_methods=("GET", "POST"),
            status_forcelist=RETRIED_STATUSES,
            retry_on_exceptions=RETRIED_ERRORS,
            attempts_made=made,
        )
        self._rules = rules
        self._sleep = sleep

    def increment(self) -> Tries:
        """Count a failed try."""
        return Tries(self._rules, self._sleep, self.attempts_made + 1)

    def sleep(self, response: httpx.Response | Exception) -> None:
        """Wait before the next try."""
        self._sleep(self._delay_s(response))

    async def asleep(self, response: httpx.Response | Exception) -> None:
        """Wait before the next try."""
        await self._sleep(self._delay_s(response))

    def _delay_s(self, response: httpx.Response | Exception) -> float:
        answer = response if isinstance(response, httpx.Response) else None
        return self._rules.delay_s(self.attempts_made, answer)


class BearerAuth(httpx.Auth):
    """Sends the credential that ``read`` returns with each request (RFC 6750, 2.1)."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the Authorization header."""
        request.headers["Authorization"] = f"Bearer {self._read()}"
        yield request


def bearer(api_key: str | httpx.Auth | None) -> httpx.Auth | None:
    """Return a key's authentication."""
    return BearerAuth(lambda: api_key) if isinstance(api_key, str) else api_key


class PredictOptions(TypedDict, total=False):
    """``model`` is ``name`` or ``name@version``."""

    model: str | None
    operating_point: str | None


class ExplainOptions(PredictOptions, total=False):
    """``target`` is a class; ``alpha`` the opacity where the heatmap is 1, in [0, 1]."""

    target: str | None
    method: Method | None
    alpha: float | None


@dataclass(frozen=True)
class Endpoint(Generic[Parsed]):
    """A kind of call; ``options`` are their names, None for a GET."""

    url: str
    parse: Callable[[httpx.Response], Parsed]
    options: frozenset[str] | None = None
    accept: str = JSON

    def build(self, images: Images | None, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return httpx's arguments. Reads the files: may block and raise OSError."""
        if images is None or self.options is None:
            return {"method": "GET", "url": self.url, "headers": {}}
        if unknown := options.keys() - self.options:
            raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")
        return _post(self.url, images, self.accept, options)


def _models(response: httpx.Response) -> tuple[ModelAnswer, ...]:
    return parse_answer(ModelsAnswer, response).models


def build_explain_request(
    image: ImageSource, accept: str = JSON, **query: str | float | None
) -> dict[str, Any]:
    """Return an explanation's httpx arguments. May block and raise OSError."""
    return _post("/v1/explain", image, accept, query)


def build_report_request(
    image: ImageSource, accept: str, **query: str | float | None
) -> dict[str, Any]:
    """Return a prediction's httpx arguments. May block and raise OSError."""
    return _post("/v1/predict", image, accept, query)


def _post(url: str, images: Images, accept: str, query: Mapping[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {"method": "POST", "url": url, "headers": {"Accept": accept}}
    request["params"] = {name: value for name, value in query.items() if value is not None}
    if isinstance(images, list):
        # Without file names, which may be names of patients; ids are positions.
        request["files"] = [("files", (None, _read(image), OCTETS)) for image in images]
    else:
        request["content"] = _read(images)
        request["headers"]["Content-Type"] = OCTETS
    return request


def _read(image: ImageSource) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def split_dicom(response: httpx.Response) -> list[bytes]:
    """Return a multipart answer's Part 10 files in order."""
    try:
        return split_related(response.headers.get("content-type", ""), response.content)
    except (InvalidRequestError, PayloadTooLargeError):
        raise _not_understood(response) from None


def verify_success(response: httpx.Response) -> httpx.Response:
    """Return a successful response, else raise ServiceError."""
    if response.is_success:
        return response
    status = response.status_code
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        raise ServiceError(status, "about:blank", response.reason_phrase) from None
    raise ServiceError(status, problem.type, problem.detail, problem.request_id)


def parse_answer(model: type[AnyAnswer], response: httpx.Response) -> AnyAnswer:
    """Parse a successful response; raise ServiceError if it is not the service's."""
    # pydantic would gather an error of half a kilobyte for each of millions of wrong values.
    if response.content.count(b",") > MAX_COMMAS:
        raise _not_understood(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError:
        raise _not_understood(response) from None


def _not_understood(response: httpx.Response) -> ServiceError:
    return ServiceError(response.status_code, "about:blank", "The answer is not the service's.")


_PREDICT = frozenset(PredictOptions.__annotations__)
_EXPLAIN = frozenset(ExplainOptions.__annotations__)
PREDICT = Endpoint("/v1/predict", partial(parse_answer, PredictAnswer), _PREDICT)
PREDICT_DICOM = Endpoint("/v1/predict", split_dicom, _PREDICT, MULTIPART_DICOM)
EXPLAIN = Endpoint("/v1/explain", partial(parse_answer, ExplainAnswer), _EXPLAIN)
EXPLAIN_DICOM = Endpoint("/v1/explain", split_dicom, _EXPLAIN, MULTIPART_DICOM)
MODELS = Endpoint("/v1/models", _models)
READY = Endpoint("/health/ready", lambda answer: answer.is_success)
