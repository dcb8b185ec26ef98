"""Fetch the metrics page of a service."""

from __future__ import annotations

import httpx

from cxr.errors import CxrError
from service.client.bounded_exchange import Bounds, build_client, exchange

PAGE_BOUNDS = Bounds(timeout_s=10.0, max_bytes=16 * 1024 * 1024)  # a page has 50 kB


class MetricsPageError(CxrError):
    """A metrics page cannot be read, or is not one."""


def fetch_page(base: str, key: str | None = None) -> str:
    """Fetch a page from ``base``, with or without ``/metrics``; raise MetricsPageError."""
    url = base if base.rstrip("/").endswith("/metrics") else base.rstrip("/") + "/metrics"
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        with build_client() as client:
            response = exchange(client, PAGE_BOUNDS, method="GET", url=url, headers=headers)
    except httpx.HTTPError as error:
        raise MetricsPageError(f"{url} does not answer ({type(error).__name__}).") from None
    if not response.is_success:
        raise MetricsPageError(
            f"{url} answers {response.status_code}. If it needs a key, save the page with the key "
            "and pass the file."
            if key is None
            else f"{url} answers {response.status_code}."
        )
    return response.text
