"""A client of the service: typed answers, typed errors, retries.

Imports neither the web framework nor an engine::

    with Client("http://127.0.0.1:8000") as client:
        answer = client.predict(Path("image.jpeg"))
        print(answer.results[0])
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

import httpx

from cxr.explain.methods import Method
from service.answers import ExplainAnswer, ModelAnswer, ModelsAnswer, PredictAnswer
from service.client.bounded_exchange import (
    Bounds,
    build_async_client,
    build_client,
    exchange,
    exchange_async,
)
from service.client.exchange import (
    RETRIED_ERRORS,
    ImageSource,
    Retry,
    ServiceError,
    bearer,
    build_explain_request,
    build_predict_request,
    parse_answer,
    split_dicom,
    verify_success,
)
from service.multipart import MULTIPART_DICOM
from service.telemetry import tracing

__all__ = ["AsyncClient", "Client", "ImageSource", "Retry", "ServiceError"]

TraceHeaders: TypeAlias = Callable[[], Mapping[str, str]]

TIMEOUT_S = 60.0
DEFAULT_RETRY = Retry()
MAX_ANSWER_BYTES = 32 * 1024 * 1024  # an explanation has 3 MB; 64 reports have 2
READY = {"method": "GET", "url": "/health/ready"}


class Client:
    """The service, called and waited for.

    Every method raises ServiceError for a problem and for what is no answer of the service, and
    httpx.TransportError if the service cannot be reached, after the tries that :class:`Retry`
    allows, or answers more than is read.

    Args:
        base_url: Where the service is.
        api_key: Key or token to show it, or what signs each request.
        retry: When and how often to try again.
        timeout_s: Longest time of one try, from the first byte sent to the last received.
        max_answer_bytes: Largest answer that is read.
        transport: Replaces the network; for tests.
        trace_headers: Gives the headers of the trace a call belongs to (W3C Trace Context), for
            instance ``{"traceparent": "00-..."}``; the present trace by default, if there is one.
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
        self._bounds = Bounds(timeout_s, max_answer_bytes)
        self._retry = retry
        self._trace_headers = trace_headers
        self._sleep = sleep

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

    def _send(self, **request: Any) -> httpx.Response:
        attempt = 0
        request["headers"] = {**request.get("headers", {}), **self._trace_headers()}
        while True:
            attempt += 1
            try:
                response = exchange(self._http, self._bounds, **request)
            except RETRIED_ERRORS:
                if (delay_s := self._retry.delay_s(attempt, None)) is None:
                    raise
            else:
                if (delay_s := self._retry.delay_s(attempt, response)) is None:
                    return verify_success(response)
            self._sleep(delay_s)

    def predict(
        self,
        images: ImageSource | list[ImageSource],
        *,
        model: str | None = None,
        operating_point: str | None = None,
    ) -> PredictAnswer:
        """Read one image, or many in one request; ``model`` is ``name`` or ``name@version``."""
        response = self._send(**build_predict_request(images, model, operating_point))
        return parse_answer(PredictAnswer, response)

    def explain(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        operating_point: str | None = None,
        target: str | None = None,
        method: Method | None = None,
        alpha: float | None = None,
    ) -> ExplainAnswer:
        """Read one image and say where the answer comes from.

        Args:
            image: The image.
            model: ``name`` or ``name@version``; the service's default.
            operating_point: Name of an operating point; the model's default.
            target: Class to explain; the most probable one of the finding.
            method: ``gradcam``, ``gradcam_plus_plus`` or ``layercam``.
            alpha: Opacity of the overlay where the heatmap is 1, in [0, 1].
        """
        request = build_explain_request(
            image,
            model=model,
            operating_point=operating_point,
            target=target,
            method=method,
            alpha=alpha,
        )
        return parse_answer(ExplainAnswer, self._send(**request))

    def predict_dicom(
        self,
        images: ImageSource | list[ImageSource],
        *,
        model: str | None = None,
        operating_point: str | None = None,
    ) -> list[bytes]:
        """Read DICOM images and give their structured reports, Part 10 files in the same order."""
        request = build_predict_request(images, model, operating_point, MULTIPART_DICOM)
        return split_dicom(self._send(**request))

    def explain_dicom(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        operating_point: str | None = None,
        target: str | None = None,
        method: Method | None = None,
        alpha: float | None = None,
    ) -> list[bytes]:
        """Explain a DICOM image: give its structured report and the overlay's Secondary Capture.

        The arguments are those of :meth:`explain`.
        """
        request = build_explain_request(
            image,
            MULTIPART_DICOM,
            model=model,
            operating_point=operating_point,
            target=target,
            method=method,
            alpha=alpha,
        )
        return split_dicom(self._send(**request))

    def models(self) -> tuple[ModelAnswer, ...]:
        """List the loaded models."""
        response = self._send(method="GET", url="/v1/models")
        return parse_answer(ModelsAnswer, response).models

    def ready(self) -> bool:
        """Ask once whether predictions are accepted. False also if nothing answers."""
        try:
            return exchange(self._http, self._bounds, **READY).is_success
        except httpx.TransportError:
            return False


class AsyncClient:
    """The same as :class:`Client`, awaited.

    Args:
        base_url: Where the service is.
        api_key: Key or token to show it, or what signs each request.
        retry: When and how often to try again.
        timeout_s: Longest time of one try, from the first byte sent to the last received.
        max_answer_bytes: Largest answer that is read.
        transport: Replaces the network; for tests.
        trace_headers: Gives the headers of the trace a call belongs to (W3C Trace Context), for
            instance ``{"traceparent": "00-..."}``; the present trace by default, if there is one.
        sleep: Replaces ``asyncio.sleep``; for tests.
    """

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
        self._bounds = Bounds(timeout_s, max_answer_bytes)
        self._retry = retry
        self._trace_headers = trace_headers
        self._sleep = sleep

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

    async def _send(self, **request: Any) -> httpx.Response:
        attempt = 0
        request["headers"] = {**request.get("headers", {}), **self._trace_headers()}
        while True:
            attempt += 1
            try:
                response = await exchange_async(self._http, self._bounds, **request)
            except RETRIED_ERRORS:
                if (delay_s := self._retry.delay_s(attempt, None)) is None:
                    raise
            else:
                if (delay_s := self._retry.delay_s(attempt, response)) is None:
                    return verify_success(response)
            await self._sleep(delay_s)

    async def predict(
        self,
        images: ImageSource | list[ImageSource],
        *,
        model: str | None = None,
        operating_point: str | None = None,
    ) -> PredictAnswer:
        """Read one image, or many in one request; ``model`` is ``name`` or ``name@version``."""
        request = await asyncio.to_thread(build_predict_request, images, model, operating_point)
        response = await self._send(**request)
        return parse_answer(PredictAnswer, response)

    async def explain(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        operating_point: str | None = None,
        target: str | None = None,
        method: Method | None = None,
        alpha: float | None = None,
    ) -> ExplainAnswer:
        """Read one image and say where the answer comes from.

        Args:
            image: The image.
            model: ``name`` or ``name@version``; the service's default.
            operating_point: Name of an operating point; the model's default.
            target: Class to explain; the most probable one of the finding.
            method: ``gradcam``, ``gradcam_plus_plus`` or ``layercam``.
            alpha: Opacity of the overlay where the heatmap is 1, in [0, 1].
        """
        request = await asyncio.to_thread(
            build_explain_request,
            image,
            model=model,
            operating_point=operating_point,
            target=target,
            method=method,
            alpha=alpha,
        )
        response = await self._send(**request)
        return parse_answer(ExplainAnswer, response)

    async def predict_dicom(
        self,
        images: ImageSource | list[ImageSource],
        *,
        model: str | None = None,
        operating_point: str | None = None,
    ) -> list[bytes]:
        """Read DICOM images and give their structured reports, Part 10 files in the same order."""
        request = await asyncio.to_thread(
            build_predict_request, images, model, operating_point, MULTIPART_DICOM
        )
        return split_dicom(await self._send(**request))

    async def explain_dicom(
        self,
        image: ImageSource,
        *,
        model: str | None = None,
        operating_point: str | None = None,
        target: str | None = None,
        method: Method | None = None,
        alpha: float | None = None,
    ) -> list[bytes]:
        """Explain a DICOM image: give its structured report and the overlay's Secondary Capture.

        The arguments are those of :meth:`explain`.
        """
        request = await asyncio.to_thread(
            build_explain_request,
            image,
            MULTIPART_DICOM,
            model=model,
            operating_point=operating_point,
            target=target,
            method=method,
            alpha=alpha,
        )
        return split_dicom(await self._send(**request))

    async def models(self) -> tuple[ModelAnswer, ...]:
        """List the loaded models."""
        response = await self._send(method="GET", url="/v1/models")
        return parse_answer(ModelsAnswer, response).models

    async def ready(self) -> bool:
        """Ask once whether predictions are accepted. False also if nothing answers."""
        try:
            return (await exchange_async(self._http, self._bounds, **READY)).is_success
        except httpx.TransportError:
            return False
