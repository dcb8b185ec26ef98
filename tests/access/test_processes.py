"""Real processes: TLS, keys that change, a gateway that shows its key."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.commands.keys import build_key
from service.errors import StartupError
from service.settings import load_settings
from service.web.process import tls_options
from tests.access.certificate import make_certificate
from tests.access.conftest import Keys
from tests.conftest import REPOSITORY
from tests.gateway.conftest import archive, fake_service, start_gateway
from tests.gateway.fakes import FakeArchive, FakeService
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess, gateway_environment, until
from tests.service.make_images import make_png
from tests.service.test_server import Process, start

__all__ = ["archive", "fake_service", "start", "start_gateway"]


def test_service_answers_over_tls(start: Callable[..., Process], tmp_path: Path) -> None:
    """With the certificate it was given, from TLS 1.2 on, and tells its address so."""
    certificate, key = make_certificate(tmp_path)
    process = start(CXR_TLS_CERTIFICATE=str(certificate), CXR_TLS_KEY=str(key))
    url = process.url()
    assert url.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(certificate))
    answer = httpx.post(f"{url}/v1/predict", content=make_png(), verify=trusting, timeout=30)
    assert answer.status_code == 200
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{url}/health/live")
    old = ssl.create_default_context(cafile=str(certificate))
    old.set_ciphers("ALL:@SECLEVEL=0")  # or the client would not offer it
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    where = httpx.URL(url)
    with (
        pytest.raises(ssl.SSLError, match=r"alert|version|protocol"),
        socket.create_connection((where.host, where.port or 0), 10) as plain,
    ):
        old.wrap_socket(plain, server_hostname=where.host)
    assert process.stop() == 0


FAULTS = ["absent", "no pem", "encrypted", "another's key", "pipe", "folder"]


@pytest.mark.parametrize("fault", FAULTS)
def test_unusable_certificate_does_not_start(tmp_path: Path, fault: str) -> None:
    """And nobody is asked for a password on the terminal."""
    password = b"secret" if fault == "encrypted" else None
    certificate, key = make_certificate(tmp_path, password)
    if fault == "absent":
        key.unlink()
    elif fault == "pipe":
        certificate.unlink()
        os.mkfifo(certificate)
    elif fault == "folder":
        key.unlink()
        key.mkdir()
    elif fault == "no pem":
        certificate.write_text("no pem")
    elif fault == "another's key":
        (tmp_path / "other").mkdir()
        key = make_certificate(tmp_path / "other")[1]
    settings = load_settings(tls_certificate=str(certificate), tls_key=str(key))
    with pytest.raises(StartupError, match="CXR_TLS_CERTIFICATE"):
        tls_options(settings)


def test_start_without_a_word_on_access_is_refused(bundles: Path) -> None:
    """Exit code 1 and one line, before a port is taken."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--bundles", str(bundles)]
    ended = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert "CXR_ACCESS=anonymous" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_keys_change_while_it_runs(start: Callable[..., Process], keys: Keys) -> None:
    """The old key is refused and the new one counts, in the same process."""
    process = start(CXR_ACCESS="keys", CXR_API_KEYS_FILE=str(keys.path))
    url = process.url()

    def status(key: str) -> int:
        headers = {"X-API-Key": key}
        answer = httpx.post(f"{url}/v1/predict", content=make_png(), headers=headers, timeout=30)
        return answer.status_code

    old = keys.keys["predict"]
    assert status(old) == 200
    new, entry = build_key("predict", ["predict"])
    keys.path.write_text(json.dumps({"keys": [entry]}))
    process.wait_for(lambda: status(new) == 200)
    assert status(old) == 401
    process.wait_for(lambda: "keys file read anew" in process.stdout())
    keys.path.write_text("{")
    process.wait_for(lambda: status(new) == 200 and "old keys kept" in process.stdout())
    assert old not in process.stdout() + process.stderr()


class Showing:
    """Remembers what was shown to a fake, and lets only one token in."""

    def __init__(self, fake: Any, token: str) -> None:
        self.shown: list[str | None] = []
        self.token = token
        answer = fake.answer

        def guarded(path: str, headers: Any, body: bytes) -> Any:
            self.shown.append(headers.get("Authorization"))
            if self.shown[-1] != f"Bearer {self.token}":
                return 401, {"Content-Type": "application/problem+json"}, b"{}"
            return answer(path, headers, body)

        fake.answer = guarded


def test_gateway_shows_its_keys_and_waits_while_they_are_wrong(
    start_gateway: Callable[..., GatewayProcess],
    fake_service: FakeService,
    archive: FakeArchive,
    tmp_path: Path,
) -> None:
    """A wrong key loses nothing: the object waits until its file holds the right one."""
    asked, stored = Showing(fake_service, "right"), Showing(archive, "stow")
    (tmp_path / "key").write_text("wrong\n")
    (tmp_path / "token").write_text("stow\n")
    gateway = start_gateway(
        service_key_file=tmp_path / "key", destination_token_files=f"pacs={tmp_path / 'token'}"
    )
    store(gateway, make_object())
    until(lambda: "Bearer wrong" in asked.shown)
    assert gateway.jobs()[0]["state"] != "dead"
    (tmp_path / "key").write_text("right\n")
    until(lambda: [job["state"] for job in gateway.jobs()] == ["done"])
    assert set(stored.shown) == {"Bearer stow"}
    log = "".join(path.read_text() for path in tmp_path.glob("log*"))
    assert "right" not in log
    assert "stow\n" not in log


def store(
    gateway: GatewayProcess, data: bytes, headers: dict[str, str] | None = None, **options: Any
) -> int:
    """Store one object by STOW-RS and give the status."""
    from service.multipart import build_related

    content_type, body = build_related([data])
    sent = {"Content-Type": content_type, **(headers or {})}
    url = f"{gateway.url}/dicomweb/studies"
    return httpx.post(url, content=body, headers=sent, timeout=30, **options).status_code


@pytest.fixture
def guarded_gateway(
    start_gateway: Callable[..., GatewayProcess], keys: Keys
) -> Iterator[GatewayProcess]:
    """A gateway that asks for keys."""
    return start_gateway(access="keys", api_keys_file=keys.path)


def test_gateway_asks_for_keys(guarded_gateway: GatewayProcess, keys: Keys, tmp_path: Path) -> None:
    """For objects, jobs and metrics, each with its scope; probes are open; each call is audited."""
    url = guarded_gateway.url
    assert store(guarded_gateway, make_object()) == 401
    assert store(guarded_gateway, make_object(), keys.bearer("jobs")) == 403
    assert store(guarded_gateway, make_object(), keys.bearer("predict")) == 200
    for path, scope in (("/v1/jobs", "jobs"), ("/metrics", "metrics")):
        assert httpx.get(url + path).status_code == 401
        assert httpx.get(url + path, headers=keys.bearer("explain")).status_code == 403
        answer = httpx.get(url + path, headers=keys.bearer(scope))
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
    problem = httpx.get(f"{url}/v1/jobs")
    assert problem.json()["type"] == "/docs/problems#unauthorized"
    assert problem.json()["request_id"] == problem.headers["x-request-id"]
    for path in ("/health", "/health/live", "/health/ready", "/openapi.json", "/docs/problems"):
        assert httpx.get(url + path).status_code == 200
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    assert paths["/v1/jobs"]["get"]["security"] == [{"bearer": []}, {"apiKey": []}]
    lines = [
        json.loads(line) for path in tmp_path.glob("log*") for line in path.read_text().splitlines()
    ]
    audit = [line for line in lines if line["event"] == "audit"]
    assert [line["outcome"] for line in audit[:3]] == ["unauthorized", "forbidden", "allowed"]
    assert (audit[2]["caller"], audit[2]["route"]) == ("predict", "/dicomweb/studies")


def test_gateway_answers_over_tls(
    fake_service: FakeService, archive: FakeArchive, tmp_path: Path
) -> None:
    """As the service does."""
    certificate, key = make_certificate(tmp_path)
    settings = {"tls_certificate": certificate, "tls_key": key, "dimse": "off"}
    environment = gateway_environment(
        tmp_path / "spool",
        service_url=fake_service.url,
        destinations=f"pacs={archive.url}",
        **settings,
    )
    gateway = GatewayProcess(environment, tmp_path / "log")
    try:
        gateway.start()
        assert gateway.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert store(gateway, make_object(), verify=trusting) == 200
    finally:
        gateway.kill()


@pytest.mark.parametrize(
    "chosen",
    [
        {"service_key": "a", "service_key_file": "b"},
        {"destination_token_files": "other=/x"},
        {"destination_token_files": "dimse=/x"},
        {"destination_token_files": "pacs=/x pacs=/y"},
        {"destination_token_files": "pacs= pacs"},
    ],
)
def test_tokens_for_nobody_are_refused(chosen: dict[str, str]) -> None:
    """A token must not go where it was not meant to, nor be forgotten."""
    from service.gateway.settings import load_gateway_settings

    destinations = "pacs=https://pacs/dicom-web dimse=dicom://A@host"
    with pytest.raises(StartupError):
        load_gateway_settings(destinations=destinations, **chosen)
    settings = load_gateway_settings(destinations=destinations, destination_token_files="/x")
    assert settings.destination_token_files == {"pacs": Path("/x")}
