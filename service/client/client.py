"""Clients on httpx and pydantic only.

::

    with Client("http://127.0.0.1:8000") as client:
        answer = client.predict(Path("image.jpeg"))
        print(answer.results[0])
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, Unpack

import httpx
from httpx_retries import RetryTransport

from service.answers import ExplainAnswer, ModelAnswer, PredictAnswer
from service.client.bounded_exchange import (
    Bounds,
    build_async_client,
    build_client,
    send,
    send_async,
)
from service.client.exchange import (
    EXPLAIN,
    EXPLAIN_DICOM,
    MODELS,
    PREDICT,
    PREDICT_DICOM,
    READY,
    Endpoint,
    ExplainOptions,
    Images,
    ImageSource,
    PredictOptions,
    Retry,
    Tries,
    bearer,
    verify_success,
)
from service.telemetry import tracing

TraceHeaders: TypeAlias = Callable[[], Mapping[str, str]]
Parsed = TypeVar("Parsed")

TIMEOUT_S = 60.0
DEFAULT_RETRY = Retry()
NO_OPTIONS: Mapping[str, Any] = {}
MAX_ANSWER_BYTES = 32 * 1024 * 1024  # an explanation has 3 MB; 64 reports have 2


class _Try(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """One exchange: each try has its own timeout, body and credential."""

    def __init__(self, http: Any, bounds: Bounds) -> None:
        self._http = http
        self._bounds = bounds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return send(self._http, self._bounds, request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await send_async(self._http, self._bounds, request)


class _Base:
    def __init__(
        self,
        http: httpx.Client | httpx.AsyncClient,
        bounds: Bounds,
        tries: Tries,
        trace_headers: TraceHeaders,
    ) -> None:
        self._client = http
        self._once = _Try(http, bounds)
        self._retrying = RetryTransport(self._once, tries)
        self._trace_headers = trace_headers

    def _build(
        self, endpoint: Endpoint[Any], images: Images | None, options: Mapping[str, Any]
    ) -> httpx.Request:
        arguments = endpoint.build(images, options)
        arguments["headers"] |= self._trace_headers()
        return self._client.build_request(**arguments)


class Client(_Base):
    """Synchronous client.

    Methods raise ServiceError for problems and for answers that are not the service's, and
    httpx.TransportError if the service is unreachable or its answer too large.

    Args:
        base_url: URL of the service.
        api_key: API key or token, or an httpx.Auth that signs each try.
        retry: When and how often to retry.
        timeout_s: Longest time of one try, to the last byte.
        max_answer_bytes: Largest answer read.
        transport: Replaces the network; for tests.
        trace_headers: Returns W3C Trace Context headers, by default of the current span.
        sleep: Replaces ``time.sleep``; for tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | httpx.Auth | None = None,
        retry: Retry = DEFAULT_RETRY,
        timeout_s: float = TIMEOUT_S,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        transport: httpx.BaseTransport | None = None,
        trace_headers: TraceHeaders = tracing.trace_headers,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._http = build_client(
            base_url=base_url, auth=bearer(api_key), timeout=timeout_s, transport=transport
        )
        bounds = Bounds(timeout_s, max_answer_bytes)
        super().__init__(self._http, bounds, Tries(retry, sleep), trace_headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(
        self, endpoint: Endpoint[Parsed], images: Images | None = None, options: Any = NO_OPTIONS
    ) -> Parsed:
        request = self._build(endpoint, images, options)
        return endpoint.parse(verify_success(self._retrying.handle_request(request)))

    def predict(self, images: Images, **options: Unpack[PredictOptions]) -> PredictAnswer:
        """Analyse images in one request; see :class:`PredictOptions`."""
        return self._ask(PREDICT, images, options)

    def explain(self, image: ImageSource, **options: Unpack[ExplainOptions]) -> ExplainAnswer:
        """Analyse and explain an image; see :class:`ExplainOptions`."""
        return self._ask(EXPLAIN, image, options)

    def predict_dicom(self, images: Images, **options: Unpack[PredictOptions]) -> list[bytes]:
        """Analyse DICOM images; return their structured reports (Part 10) in order."""
        return self._ask(PREDICT_DICOM, images, options)

    def explain_dicom(self, image: ImageSource, **options: Unpack[ExplainOptions]) -> list[bytes]:
        """Explain a DICOM image; return structured report and Secondary Capture."""
        return self._ask(EXPLAIN_DICOM, image, options)

    def models(self) -> tuple[ModelAnswer, ...]:
        """List the loaded models."""
        return self._ask(MODELS)

    def ready(self) -> bool:
        """Whether predictions are accepted, asked once; False without an answer."""
        request = self._build(READY, None, NO_OPTIONS)
        try:
            return READY.parse(self._once.handle_request(request))
        except httpx.TransportError:
            return False


class AsyncClient(_Base):
    """:class:`Client`, awaited; ``sleep`` replaces ``asyncio.sleep``."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | httpx.Auth | None = None,
        retry: Retry = DEFAULT_RETRY,
        timeout_s: float = TIMEOUT_S,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
        trace_headers: TraceHeaders = tracing.trace_headers,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._http = build_async_client(
            base_url=base_url, auth=bearer(api_key), timeout=timeout_s, transport=transport
        )
        bounds = Bounds(timeout_s, max_answer_bytes)
        super().__init__(self._http, bounds, Tries(retry, sleep), trace_headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(
        self, endpoint: Endpoint[Parsed], images: Images | None = None, options: Any = NO_OPTIONS
    ) -> Parsed:
        request = await asyncio.to_thread(self._build, endpoint, images, options)
        response = await self._retrying.handle_async_request(request)
        return endpoint.parse(verify_success(response))

    async def predict(self, images: Images, **options: Unpack[PredictOptions]) -> PredictAnswer:
        """See :meth:`Client.predict`."""
        return await self._ask(PREDICT, images, options)

    async def explain(self, image: ImageSource, **options: Unpack[ExplainOptions]) -> ExplainAnswer:
        """See :meth:`Client.explain`."""
        return await self._ask(EXPLAIN, image, options)

    async def predict_dicom(self, images: Images, **options: Unpack[PredictOptions]) -> list[bytes]:
        """See :meth:`Client.predict_dicom`."""
        return await self._ask(PREDICT_DICOM, images, options)

    async def explain_dicom(
        self, image: ImageSource, **options: Unpack[ExplainOptions]
    ) -> list[bytes]:
        """See :meth:`Client.explain_dicom`."""
        return await self._ask(EXPLAIN_DICOM, image, options)

    async def models(self) -> tuple[ModelAnswer, ...]:
        """See :meth:`Client.models`."""
        return await self._ask(MODELS)

    async def ready(self) -> bool:
        """See :meth:`Client.ready`."""
        request = self._build(READY, None, NO_OPTIONS)
        try:
            return READY.parse(await self._once.handle_async_request(request))
        except httpx.TransportError:
            return False
