"""Nothing of the patient is told by the gateway, or kept when an object has been delivered."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pynetdicom import AE, association

from service.gateway.dimse.association import close_rejected
from service.gateway.settings import DATABASE_FILE
from tests.canaries import CANARIES, found_in, planted
from tests.conftest import REPOSITORY
from tests.damages import BROKEN, NAME, SOUND
from tests.gateway.fakes import FakeArchive, FakeService, problem
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess, until
from tests.gateway.test_gateway import c_store, stow
from tests.spans import Collector, running_collector

STUDY = next(token for token, name in CANARIES.items() if name == "StudyInstanceUID")
FILED_UNDER = {"StudyInstanceUID", "SOPInstanceUID"}
"""Rows keep the UIDs; lists, logs and metrics do not tell them."""

LOUD_LIBRARIES = """
import logging
for library in ("pydicom", "pynetdicom", "pynetdicom.acse", "pynetdicom.dimse"):
    logging.getLogger(library).setLevel(logging.DEBUG)
"""
"""Run at the start of each Python: as if an operator had asked for more."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """What the gateway sends its spans to."""
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def source() -> bytes:
    """A sound object, full of canaries."""
    return planted(make_object())


def numbered(source: bytes, number: int) -> bytes:
    """The same object with another content, which makes it a job of its own."""
    ds = dcmread(io.BytesIO(source))
    ds.add_new("SmallestImagePixelValue", "US", number)
    buffer = io.BytesIO()
    ds.save_as(buffer)
    return buffer.getvalue()


def c_store_cut(gateway: GatewayProcess, source: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a data set by C-STORE that ends in its header."""
    ds = dcmread(io.BytesIO(source))
    whole = association.encode  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(association, "encode", lambda *a: (whole(*a) or b"")[:5000])
        c_store(gateway, source)
    entity = AE(NAME)
    entity.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    rejected = entity.associate("127.0.0.1", gateway.dimse_port, ae_title=NAME)
    assert rejected.is_rejected
    close_rejected(rejected)


def troubled_service(number: int) -> Any:
    """Every second answer is trouble that quotes the patient."""
    quoting = json.dumps({"type": f"/{NAME}", "title": NAME, "status": 503, "detail": NAME})
    answers = [
        (503, {"Content-Type": "application/problem+json"}, quoting.encode()),
        (500, {"X-Patient": NAME}, NAME.encode()),
        (200, {"Content-Type": f"text/{NAME}"}, NAME.encode()),
        (422, {"Content-Type": "application/problem+json"}, quoting.encode()),
        problem(422, "unreadable-image"),
    ]
    return answers[number // 2 % len(answers)] if number % 2 else None


def troubled_archive(number: int) -> Any:
    """Every second answer is trouble that quotes the patient."""
    failed = {"00081198": {"vr": "SQ", "Value": [{"00100010": {"vr": "PN", "Value": [NAME]}}]}}
    answers = [
        (500, {"X-Patient": NAME}, NAME.encode()),
        (409, {"Content-Type": "application/dicom+json"}, json.dumps(failed).encode()),
        (200, {"Content-Type": "application/dicom+json"}, NAME.encode()),
    ]
    return answers[number // 2 % len(answers)] if number % 2 else None


def command(gateway: GatewayProcess, *arguments: str) -> str:
    """Give what ``python -m service jobs`` prints, on both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "service", "jobs", *arguments],
        cwd=REPOSITORY,
        env=gateway._environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def is_quiet(gateway: GatewayProcess) -> bool:
    """Whether nothing is under way."""
    return not {job["state"] for job in gateway.jobs()} & {"received", "analysing", "delivering"}


def test_no_canary_is_told_or_kept(
    start_gateway: Callable[..., GatewayProcess],
    source: bytes,
    fake_service: FakeService,
    archive: FakeArchive,
    collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """By C-STORE, STOW-RS and WADO-RS, sound or damaged, while everything fails now and then."""
    is_traced = find_spec("opentelemetry.sdk") is not None
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    (tmp_path / "sitecustomize.py").write_text(LOUD_LIBRARIES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    files = [damage(source) for damage in (SOUND | BROKEN).values()]
    archive.studies[STUDY] = [numbered(file, 1) for file in files if len(file) > len(source) // 2]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    gateway = start_gateway(
        log_level="debug",
        dimse_peers="CR1",
        wado_url=archive.url,
        analysis_max_h=0.0005,
        tracing="otlp" if is_traced else "off",
    )
    fake_service.script = troubled_service
    told = [answer_without_instances(stow(gateway, file)) for file in files]
    told += [str(c_store(gateway, numbered(file, 2))) for file in archive.studies[STUDY]]
    c_store_cut(gateway, source, monkeypatch)
    told.append(httpx.post(f"{gateway.url}/v1/studies/{STUDY}:analyze", timeout=30).text)
    archive.script = troubled_archive
    for path in (f"studies/{STUDY}:analyze", f"studies/{STUDY}.9:analyze", f"jobs/{NAME}"):
        told.append(httpx.post(f"{gateway.url}/v1/{path}", timeout=30).text)
    until(lambda: is_quiet(gateway))
    archive.script = fake_service.script = lambda number: None
    told.append(command(gateway, "retry", "--all-dead"))
    until(lambda: {job["state"] for job in gateway.jobs()} == {"done"})

    jobs = [job["id"] for job in gateway.jobs()]
    assert len(jobs) > len(archive.studies[STUDY])
    told += [str(gateway.jobs()), command(gateway, "list"), command(gateway, "show", jobs[0])]
    told += [httpx.get(f"{gateway.url}/{path}").text for path in ("metrics", "health")]
    told += [httpx.get(f"{gateway.url}/v1/jobs/{job}").text for job in (*jobs, NAME)]
    assert found_in(command(gateway, "show", jobs[0], "--uids")) == FILED_UNDER
    process = gateway.process
    assert process is not None
    assert process.stderr is not None
    process.terminate()
    told += [process.stderr.read(), (tmp_path / "log0").read_text()]
    assert bool(collector.got) is is_traced
    told += [body.decode("latin-1") for _, body in collector.got]
    assert [text for text in told if found_in(text)] == []
    assert not list(temporary.iterdir())
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in left} == {
        "log0",
        "sitecustomize.py",
        "gateway.lock",
        DATABASE_FILE,
    }
    with closing(sqlite3.connect(tmp_path / "spool" / DATABASE_FILE)) as database:
        assert found_in("\n".join(database.iterdump())) == FILED_UNDER


def answer_without_instances(response: httpx.Response) -> str:
    """STOW-RS names instances to who sent them, and nothing else."""
    told = response.json()
    for sequence in ("00081198", "00081199"):
        for item in told.get(sequence, {}).get("Value", []):
            del item["00081155"]
    return json.dumps(told) + str(response.headers)
