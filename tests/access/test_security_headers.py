"""What keeps answers harmless in a browser and out of caches, on every kind of answer."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from service.web.protocol import SAFE
from service.web.requests import SECURITY_HEADERS
from tests.service.conftest import service, settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, load_of
from tests.service.make_images import make_png

__all__ = ["service", "settings"]

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/predict", 200),
        ("POST", "/v1/predict?model=zz", 404),
        ("GET", "/v1/models", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/v1/predict", 405),
        ("OPTIONS", "/v1/predict", 204),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
        ("POST", "/v2/models/zz/infer", 404),
    ],
)
async def test_answers_have_them(service: Running, method: str, path: str, status: int) -> None:
    """Answers about patients above all are kept by no cache."""
    answer = await service.client.request(method, path, content=make_png())
    assert answer.status_code == status
    assert (
        SECURITY_HEADERS.items()
        <= {
            name.title().replace("Options", "Options"): value
            for name, value in answer.headers.items()
        }.items()
    )
    assert answer.headers["cache-control"] == "no-store"


async def test_unforeseen_errors_have_them(
    service: Running, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last resort's, too."""
    monkeypatch.setattr(load_of(service), "verify_room", lambda *_: 1 / int("0"))
    answer = await service.client.post("/v1/predict", content=make_png())
    assert answer.status_code == 500
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_what_is_no_http_has_them() -> None:
    """The answer to it is made without an application."""
    assert "x-content-type-options: nosniff\r\n" in SAFE
    assert "cache-control: no-store\r\n" in SAFE


async def test_interactive_page_runs_its_own_script_only(service: Running) -> None:
    """By hash: nothing else that got into the page would run."""
    answer = await service.client.get("/docs")
    policy = answer.headers["content-security-policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    named = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{named}';" in policy
    assert "frame-ancestors 'none'" in policy


async def test_what_has_a_validator_may_be_kept_and_asked_anew(service: Running) -> None:
    """Scripts and styles of pages are no secrets."""
    answer = await service.client.get("/docs-assets/swagger-ui.css")
    assert "etag" in answer.headers
    assert answer.headers.get("cache-control") != "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
