"""The client: typed answers and errors, and when it tries again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.client import AsyncClient, Client, Retry, ServiceError
from service.client.exchange import BearerAuth
from tests.service.harness import Running
from tests.service.make_images import make_jpeg, make_png

pytestmark = pytest.mark.anyio

PROBLEM = {
    "type": "/docs/problems#queue-full",
    "title": "Queue full",
    "status": 429,
    "detail": "Try again later.",
    "request_id": "abc",
}
MODELS = httpx.Response(200, json={"models": []})
BUSY = httpx.Response(429, json=PROBLEM, headers={"Retry-After": "7"})
STARTING = httpx.Response(503, json=PROBLEM | {"status": 503})


class Script:
    """Plays answers one after another, and records the waits between them.

    Args:
        steps: Responses to give and errors to raise.
    """

    def __init__(self, *steps: httpx.Response | Exception) -> None:
        self.steps = list(steps)
        self.slept_s: list[float] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Play the next step."""
        request.read()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        # A response can be read once, and the steps are shared by the tests.
        return httpx.Response(step.status_code, headers=step.headers, content=step.content)

    async def sleep(self, delay_s: float) -> None:
        """Record a wait of the asynchronous client."""
        self.slept_s.append(delay_s)


Ask = Callable[[Script], Any]


async def ask_sync(script: Script) -> Any:
    """List the models with the synchronous client."""
    transport = httpx.MockTransport(script.handle)
    with Client("http://test", transport=transport, sleep=script.slept_s.append) as client:
        return client.models()


async def ask_async(script: Script) -> Any:
    """List the models with the asynchronous client."""
    transport = httpx.MockTransport(script.handle)
    async with AsyncClient("http://test", transport=transport, sleep=script.sleep) as client:
        return await client.models()


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Either client."""
    chosen: Ask = request.param
    return chosen


async def test_retry_after_is_honoured(ask: Ask) -> None:
    """The client waits as long as it was asked to, and then succeeds."""
    script = Script(BUSY, BUSY, MODELS)
    assert await ask(script) == ()
    assert script.slept_s == [7.0, 7.0]


async def test_backoff_grows_with_jitter(ask: Ask) -> None:
    """Without Retry-After the waits double, within their jitter."""
    script = Script(STARTING, STARTING, STARTING, MODELS)
    await ask(script)
    for delay_s, mean_s in zip(script.slept_s, (0.2, 0.4, 0.8), strict=True):
        assert 0.5 * mean_s <= delay_s <= 1.5 * mean_s


async def test_attempts_are_bounded(ask: Ask) -> None:
    """After the last try its problem is raised, typed."""
    script = Script(BUSY, BUSY, BUSY, BUSY, MODELS)
    with pytest.raises(ServiceError) as caught:
        await ask(script)
    assert (caught.value.status, caught.value.type) == (429, PROBLEM["type"])
    assert (caught.value.detail, caught.value.request_id) == ("Try again later.", "abc")
    assert len(script.steps) == 1


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError("x"), httpx.ReadError("x"), httpx.RemoteProtocolError("x")],
    ids=["connect", "read", "protocol"],
)
async def test_connection_errors_are_retried(ask: Ask, error: Exception) -> None:
    """A replica that went away is no failure as long as another answers."""
    assert await ask(Script(error, MODELS)) == ()
    with pytest.raises(type(error)):
        await ask(Script(*[error] * 4, MODELS))


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500, 504])
async def test_other_problems_are_not_retried(ask: Ask, status: int) -> None:
    """The same request would fail again."""
    script = Script(httpx.Response(status, json=PROBLEM | {"status": status}), MODELS)
    with pytest.raises(ServiceError, match=f"^{status} "):
        await ask(script)
    assert script.slept_s == []


async def test_answer_of_a_proxy_is_a_service_error(ask: Ask) -> None:
    """What is no problem object is still told by its status."""
    with pytest.raises(ServiceError) as caught:
        await ask(Script(httpx.Response(504, text="<html>")))
    assert (caught.value.status, caught.value.type) == (504, "about:blank")


async def test_dead_replica_behind_a_proxy_is_retried(ask: Ask) -> None:
    """The proxy says 502 for a connection that broke: another replica is asked."""
    assert await ask(Script(httpx.Response(502, text="<html>"), MODELS)) == ()


def test_longest_wait_is_bounded() -> None:
    """A service that asks for an hour is not obeyed."""
    response = httpx.Response(503, headers={"Retry-After": "3600"})
    assert Retry(longest_s=5.0).delay_s(1, response) == 5.0


def test_each_try_asks_for_the_credential_anew() -> None:
    """A token that expires while a service is busy is replaced for the next try."""
    shown: list[str] = []
    tokens = iter(("old", "new"))

    def handle(request: httpx.Request) -> httpx.Response:
        shown.append(request.headers["Authorization"])
        return httpx.Response(503) if len(shown) == 1 else httpx.Response(200, json={"models": []})

    transport = httpx.MockTransport(handle)
    auth = BearerAuth(lambda: next(tokens))
    with Client("http://test", api_key=auth, transport=transport, sleep=lambda _: None) as client:
        assert client.models() == ()
    assert shown == ["Bearer old", "Bearer new"]


def test_unknown_options_are_an_error() -> None:
    """A misspelt option is not sent to the service, which would not read it."""
    transport = httpx.MockTransport(lambda _: httpx.Response(500))
    with (
        Client("http://test", transport=transport) as client,
        pytest.raises(TypeError, match="operatingpoint"),
    ):
        client.predict(b"x", operatingpoint="balanced")  # type: ignore[call-arg]


def test_ready_asks_once() -> None:
    """Readiness is a question, not a wait."""
    for step, expected in ((MODELS, True), (STARTING, False), (httpx.ConnectError("x"), False)):
        script = Script(step)
        with Client("http://test", transport=httpx.MockTransport(script.handle)) as client:
            assert client.ready() is expected
        assert script.steps == []


async def test_predict_against_the_service(real_service: Running, tmp_path: Path) -> None:
    """Bytes, a path and a list are sent as the service wants them."""
    path = tmp_path / "Doe^Jane.jpeg"
    path.write_bytes(make_jpeg(170))
    transport = httpx.ASGITransport(real_service.app)
    async with AsyncClient("http://test", transport=transport) as client:
        one = await client.predict(make_png(60), model="cnn", operating_point="rule-out")
        other = await client.predict(str(path))
        many = await client.predict([path, make_png(60), b"junk"])
        models = await client.models()
        with pytest.raises(ServiceError, match=r"415 .*unsupported-media"):
            await client.predict(b"junk")
        assert await client.ready()
    assert one.model.name == "cnn"
    assert [model.name for model in models] == ["cnn", "resnet18"]
    assert many.results[0].status == many.results[1].status == "ok"
    assert many.results[0].probability == pytest.approx(other.results[0].probability, abs=1e-5)
    assert many.results[1].probability == pytest.approx(one.results[0].probability, abs=1e-5)
    assert many.results[2].status == "error"


def test_file_names_are_not_sent(tmp_path: Path) -> None:
    """A file name may be a patient's name."""
    path = tmp_path / "Doe^Jane.png"
    path.write_bytes(make_png())
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.read())
        return httpx.Response(400, json=PROBLEM | {"status": 400})

    with (
        Client("http://test", transport=httpx.MockTransport(handle)) as client,
        pytest.raises(ServiceError),
    ):
        client.predict([path])
    assert make_png() in seen[0]
    assert b"Jane" not in seen[0]


def test_client_imports_no_server() -> None:
    """A program that only asks must not load what answers."""
    heavy = ["fastapi", "onnxruntime", "torch", "pydicom", "sklearn", "numpy", "uvicorn"]
    code = f"import sys, service.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
