"""Keys over HTTP: who is let in, who is not, and what is told and written of it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.access.scopes import SCOPES, SERVICE_ROUTES
from service.client import AsyncClient, ServiceError
from tests.access.conftest import Keys, verify_refused
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, running
from tests.service.make_images import make_dicom, make_png

pytestmark = pytest.mark.anyio

PREDICT = "/v1/predict"


def log_lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """Give the members of the log lines of an event."""
    return [r.__dict__["fields"] for r in caplog.records if r.getMessage() == event]


def audit_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Give what was written for the audit."""
    return log_lines(caplog, "audit")


def filled(template: str) -> str:
    """Give a path of a template."""
    return (
        template.replace("{name}", "resnet18")
        .replace("{version}", "1.0.0")
        .replace("{path:path}", "page.css")
    )


NEEDING = [(*key, needed) for key, needed in SERVICE_ROUTES.items() if needed is not None]


def name_of(value: str | frozenset[str]) -> str:
    """Name a case alike in every process: a set's order is not."""
    return value if isinstance(value, str) else "+".join(sorted(value))


@pytest.mark.parametrize(("method", "template", "needed"), NEEDING, ids=name_of)
async def test_route_needs_its_scope(
    guarded: Running, keys: Keys, method: str, template: str, needed: frozenset[str]
) -> None:
    """Without a key 401, with one of another scope 403, with the right one neither."""
    path = filled(template)
    anonymous = await guarded.client.request(method, path)
    assert anonymous.status_code == 401
    assert anonymous.headers["www-authenticate"] == 'Bearer realm="cxr-inference"'
    for scope in SCOPES:
        answer = await guarded.client.request(method, path, headers=keys.bearer(scope))
        assert (answer.status_code in (401, 403)) == (scope not in needed), (scope, answer.text)
        if scope not in needed:
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


OPEN = [filled(path) for (_, path), needed in SERVICE_ROUTES.items() if needed is None]


@pytest.mark.parametrize("path", OPEN)
async def test_probes_and_pages_are_open(guarded: Running, path: str) -> None:
    """A kubelet has no key, and a person sees the page before being asked for one."""
    if path.startswith("/docs-assets"):
        path = "/docs-assets/swagger-ui.css"
    assert (await guarded.client.get(path)).status_code == 200
    assert (await guarded.client.head(path)).status_code == 200


async def test_key_may_come_in_either_header(guarded: Running, keys: Keys) -> None:
    """Case of the scheme and blanks do not matter; two at once are refused."""
    key = keys.keys["predict"]
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer  {key} "},
        {"X-API-Key": key},
    ):
        answer = await guarded.client.post(PREDICT, content=make_png(), headers=headers)
        assert answer.status_code == 200
    both = {"Authorization": f"Bearer {key}", "X-API-Key": key}
    verify_refused(await guarded.client.post(PREDICT, headers=both), 401, "unauthorized")


@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", "Basic YTpi", "Bearer cxr_wrong", "Bearer a.b.c", "cxr_wrong"],
)
async def test_what_is_no_key_is_refused(guarded: Running, value: str) -> None:
    """And said to be, so that the client does not send it again."""
    answer = await guarded.client.post(PREDICT, headers={"Authorization": value})
    verify_refused(answer, 401, "unauthorized")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert "wrong" not in answer.text


async def test_v2_is_refused_in_its_own_form(guarded: Running) -> None:
    """Its clients read nothing else."""
    answer = await guarded.client.post("/v2/models/resnet18/infer")
    assert answer.status_code == 401
    assert answer.json()["error"].startswith("Unauthorized: ")


async def test_unknown_paths_tell_strangers_nothing(guarded: Running, keys: Keys) -> None:
    """A route that was forgotten in the table would be behind a key, too."""
    assert (await guarded.client.get("/nothing")).status_code == 401
    assert (await guarded.client.post("/health")).status_code == 401
    answer = await guarded.client.get("/nothing", headers=keys.bearer("jobs"))
    verify_refused(answer, 404, "not-found")


@pytest.mark.parametrize("root", ["", "/cxr"])
@pytest.mark.parametrize(
    "path", ["/health/../v1/models", "//v1/models", "/page/../v1/models", "/v1/models/", "/healthx"]
)
async def test_no_detour_leads_past_the_door(guarded: Running, path: str, root: str) -> None:
    """Paths go by the router's own rules, also under a proxy's prefix."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": root + path,
        "raw_path": (root + path).encode(),
        "root_path": root,
        "query_string": b"",
        "headers": [],
        "scheme": "http",
        "server": ("test", 80),
        "http_version": "1.1",
    }
    await guarded.app(scope, receive, send)
    assert sent[0]["status"] in (401, 404)
    assert b"sha256" not in b"".join(message.get("body", b"") for message in sent)


async def test_nothing_of_the_body_is_read_before_the_key(guarded: Running, keys: Keys) -> None:
    """Strangers and who asks too often cost nothing: not one piece is taken."""
    pieces = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pieces
        for _ in range(1000):
            pieces += 1
            yield bytes(1000)

    async def post(headers: dict[str, str]) -> int:
        nonlocal pieces
        pieces = 0
        answer = await guarded.client.post(PREDICT, content=body(), headers=headers)
        assert pieces == 0
        return answer.status_code

    assert await post({}) == 401
    assert await post(keys.bearer("explain")) == 403
    first = await guarded.client.post(PREDICT, content=make_png(), headers=keys.bearer("slow"))
    assert first.status_code == 200
    assert await post(keys.bearer("slow")) == 429


async def test_rate_of_a_key_is_its_own(guarded: Running, keys: Keys) -> None:
    """One that asks too often is told when to come again; others notice nothing."""
    codes = []
    for _ in range(3):
        answer = await guarded.client.get("/v1/models", headers=keys.bearer("slow"))
        codes.append(answer.status_code)
    assert codes == [200, 429, 429]
    verify_refused(answer, 429, "rate-limited")
    assert int(answer.headers["retry-after"]) > 90
    assert (
        await guarded.client.get("/v1/models", headers=keys.bearer("predict"))
    ).status_code == 200


async def test_every_call_has_its_line_for_the_audit(
    guarded: Running, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """Who, what, with which outcome; probes have none."""
    calls: list[tuple[str, str, dict[str, str]]] = [
        ("POST", PREDICT, keys.bearer("predict")),
        ("POST", PREDICT, keys.bearer("jobs")),
        ("GET", "/v1/models/resnet18", keys.bearer("predict")),
        ("GET", "/metrics", {}),
        ("GET", "/health/live", {}),
    ]
    with caplog.at_level(logging.INFO):
        for number, (method, path, headers) in enumerate(calls):
            named = {**headers, "X-Request-ID": f"r{number}"}
            await guarded.client.request(method, path, headers=named)
    told = [
        (one["request_id"], one["caller"], one["by"], one["scope"], one["route"], one["outcome"])
        for one in audit_lines(caplog)
    ]
    assert told == [
        ("r0", "predict", "key", "predict", PREDICT, "allowed"),
        ("r1", "jobs", "key", "predict", PREDICT, "forbidden"),
        ("r2", "predict", "key", "any", "/v1/models/{name}", "allowed"),
        ("r3", None, None, "metrics", "/metrics", "unauthorized"),
    ]
    assert [one["status"] for one in audit_lines(caplog)] == [400, None, 200, None]
    outcomes = [one["outcome"] for one in log_lines(caplog, "request")]
    assert outcomes == ["invalid-request", "forbidden", "ok"]  # scrapes and probes are quiet


async def test_secrets_are_nowhere(
    guarded: Running, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither keys, good or bad, nor hashes nor patients, in log, answers or documents."""
    secrets = [*keys.keys.values(), "cxr_verywrong", "Doe^Jane"]
    secrets += [entry["sha256"] for entry in json.loads(keys.path.read_text())["keys"]]
    texts = []
    with caplog.at_level(logging.DEBUG):
        dicom = make_dicom(PatientName="Doe^Jane")
        for name in keys.keys:
            for path in (PREDICT, "/v1/models", "/openapi.json", "/metrics", "/health"):
                headers = keys.bearer(name)
                for answer in (
                    await guarded.client.get(path, headers=headers),
                    await guarded.client.post(path, headers=headers, content=dicom),
                ):
                    texts.append(answer.text + str(answer.headers))
        bad = {"Authorization": "Bearer cxr_verywrong"}
        texts.append((await guarded.client.get("/v1/models", headers=bad)).text)
    texts += [str(record.__dict__) for record in caplog.records]
    assert not [secret for secret in secrets if any(secret in text for text in texts)]


async def test_refusal_is_counted_and_logged_with_its_route(
    guarded: Running, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """As every other problem, under the template and not the path."""
    with caplog.at_level(logging.INFO):
        await guarded.client.get("/v1/models/Doe-Jane")
    routes = [r.__dict__["fields"]["route"] for r in caplog.records if r.getMessage() == "request"]
    assert routes == ["/v1/models/{name}"]
    page = (await guarded.client.get("/metrics", headers=keys.bearer("metrics"))).text
    assert any("unauthorized" in line and line.endswith(" 1.0") for line in page.splitlines())


async def test_document_tells_how_to_be_let_in(guarded: Running) -> None:
    """Schemes, scopes, and the problems of who lacks them; probes ask for nothing."""
    document = (await guarded.client.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    post = document["paths"][PREDICT]["post"]
    assert post["security"] == [{"bearer": []}, {"apiKey": []}]
    assert {"401", "403", "429"} <= set(post["responses"])
    assert post["description"].endswith("Needs scope predict.")
    assert document["paths"]["/health/live"]["get"]["security"] == []


async def test_client_shows_its_key(guarded: Running, keys: Keys) -> None:
    """And is told by a typed error when it is not enough."""
    transport = guarded.client._transport
    for name, is_allowed in (("predict", True), ("jobs", False)):
        async with AsyncClient(
            "http://test", api_key=keys.keys[name], transport=transport
        ) as client:
            if is_allowed:
                assert (await client.predict(make_png())).results[0].status == "ok"
            else:
                with pytest.raises(ServiceError, match="forbidden"):
                    await client.predict(make_png())


async def test_anonymous_admin_only_on_this_machine(bundles: Path, engine: FakeEngine) -> None:
    """Whoever comes over the network without a name may ask, but change nothing."""
    load = "/v1/models/resnet18:unload"
    for host, is_open in (("0.0.0.0", False), ("127.0.0.1", True), ("::1", True)):
        async with running(make_settings(bundles, host=host), engine.build) as service:
            refused = (await service.client.post(load)).status_code == 403
            assert refused is not is_open
            assert (await service.client.get("/v1/models")).status_code == 200
            document = (await service.client.get("/openapi.json")).json()
            assert {} in document["paths"][PREDICT]["post"]["security"]
