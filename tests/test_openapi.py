"""Schemathesis finds no 500 and no answer outside the OpenAPI documents."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.gateway.process import running_gateway
from tests.live import running_server
from tests.service.make_bundle import make_bundle

SCHEMATHESIS = REPOSITORY / ".schemathesis-env" / "bin" / "schemathesis"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
MAX_TIME_S = os.environ.get("SCHEMATHESIS_TIME_S", "10")
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "5")

pytestmark = [
    pytest.mark.skipif(not SCHEMATHESIS.is_file(), reason="make schemathesis was not run"),
    pytest.mark.timeout(240 + 4 * int(MAX_TIME_S)),
]


def run_schemathesis(url: str, folder: Path) -> None:
    """Send what the document allows and what it does not; the same every time."""
    command = [SCHEMATHESIS, "--config-file", REPOSITORY / "tests" / "schemathesis.toml"]
    chosen = ["run", f"{url}/openapi.json", "--checks", ",".join(CHECKS), "--no-color"]
    bounds = ["--max-time", MAX_TIME_S, "--max-examples", EXAMPLES, "--generation-deterministic"]
    root = str(REPOSITORY)
    finished = subprocess.run(
        [*command, *chosen, *bounds, "--continue-on-failure"],
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks", "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-8000:] + finished.stderr[-2000:]
    assert "Tested:" in finished.stdout


def test_service_answers_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every route, with bodies and queries of all kinds."""
    monkeypatch.setenv("CXR_EXPLAIN", "off")
    make_bundle(tmp_path / "bundles")
    with running_server(tmp_path / "bundles") as server:
        run_schemathesis(server.address, tmp_path)


def test_gateway_answers_as_documented(tmp_path: Path) -> None:
    """Nobody answers behind it, so what it asks others for is 502."""
    nobody = "http://127.0.0.1:9/dicom-web"
    settings = {"destinations": f"pacs={nobody}", "wado_url": nobody, "dimse": "off"}
    with running_gateway(tmp_path, **settings) as gateway:
        run_schemathesis(gateway.url, tmp_path)
