"""What every test of this folder ends with: alive, ready, nothing waiting, and still right."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.service.make_images import make_png

GREY = 90
PATIENCE_S = 20.0
PAGES = ("/health/live", "/health/ready", "/health", "/metrics")

DEPTHS = ("cxr_queue_depth", "cxr_waiting_for_core")


def what_is_left(pages: dict[str, httpx.Response]) -> dict[str, Any]:
    """Give what is not as it is in a service that has nothing to do; empty if all is."""
    left: dict[str, Any] = {
        path: page.status_code for path, page in pages.items() if page.status_code != 200
    }
    if left:
        return left
    if active := pages["/health"].json()["active_requests"]:
        left["active_requests"] = active
    for line in pages["/metrics"].text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith(DEPTHS) and float(value):
            left[name] = value
        if name == "cxr_ready" and float(value) != 1.0:
            left[name] = value
    return left


async def verify_unharmed(client: httpx.AsyncClient, probability: float | None = None) -> None:
    """Wait until an application in this process is at rest, then have it answer."""
    pages = {path: await client.get(path) for path in PAGES}
    assert not what_is_left(pages)
    answer = await client.post("/v1/predict", content=make_png(GREY))
    assert answer.status_code == 200
    given = answer.json()["results"][0]["probability"]
    assert probability is None or given == probability


def verify_process_unharmed(url: str, probability: float | None = None) -> None:
    """Wait until a service is at rest, then have it answer as it did before."""
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        _until_at_rest(lambda: what_is_left({path: client.get(path) for path in PAGES}))
        answer = client.post("/v1/predict", content=make_png(GREY))
    assert answer.status_code == 200
    given = answer.json()["results"][0]["probability"]
    assert probability is None or given == probability


def _until_at_rest(look: Callable[[], dict[str, Any]]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while left := look():
        assert time.monotonic() < end_s, left
        time.sleep(0.05)


def probability_at(url: str) -> float:
    """Give what a service answers for the picture every test ends with."""
    answer = httpx.post(f"{url}/v1/predict", content=make_png(GREY), timeout=PATIENCE_S)
    return float(answer.json()["results"][0]["probability"])
