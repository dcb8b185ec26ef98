"""Workers around an inbox: refusals, reports, ages, and TLS."""

from __future__ import annotations

import io
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from service.errors import StartupError
from service.gateway.gateway import Gateway
from service.gateway.settings import GatewaySettings, load_gateway_settings
from service.gateway.signals import Signals
from service.gateway.work.analysis import Analysis
from service.gateway.work.analysis_task import AnalysisTask, BuildNotAnalysed
from service.gateway.work.loop import Worker, endless_retry
from service.settings import load_settings
from service.telemetry.gateway import GatewayMetrics
from tests.gateway.conftest import Box
from tests.gateway.fakes import FakeService, problem
from tests.gateway.objects import make_object, make_results
from tests.gateway.process import GatewayProcess

Start = Callable[..., GatewayProcess]


def analyse_once(
    box: Box,
    fake_service: FakeService,
    build_not_analysed: BuildNotAnalysed | None = None,
    longest_h: float = 1.0,
) -> None:
    """Let a worker do what is due."""
    analysis, signals = Analysis(fake_service.url, 5), Signals()
    task = AnalysisTask(
        box.inbox, box.spool, analysis, signals, GatewayMetrics(), build_not_analysed
    )
    retry = endless_retry(0.01, 0.02)
    job = task.lease()
    assert job is not None
    Worker(task, 1, signals, signals.analysis, retry=retry, longest_h=longest_h).do(job)
    analysis.close()


def test_refused_object_gets_a_report_if_configured(box: Box, fake_service: FakeService) -> None:
    """The report has the reason, and is delivered like a result."""
    reasons = []

    def build(data: bytes, reason: str) -> bytes:
        reasons.append((dcmread(io.BytesIO(data)).SOPInstanceUID, reason))
        return make_results("1.5")[0]

    fake_service.script = lambda number: problem(422, "image-out-of-scope")
    job_id, _ = box.receive(make_object(instance="1.5"))
    analyse_once(box, fake_service, build_not_analysed=build)
    assert reasons == [("1.5", "service-image-out-of-scope")]
    entry = box.ledger.get(job_id)
    assert (entry.state, entry.reason) == ("delivering", "service-image-out-of-scope")
    way = box.outbox.lease()
    assert way is not None
    assert [one.sop_instance_uid for one in way.results] == ["1.5.1"]


@pytest.mark.parametrize(
    ("status", "slug"), [(404, "unknown-model"), (406, "not-acceptable"), (501, "explain-disabled")]
)
def test_misconfiguration_is_no_report(
    box: Box, fake_service: FakeService, status: int, slug: str
) -> None:
    """What an operator has to mend is a dead letter, not a statement about the image."""
    fake_service.script = lambda number: problem(status, slug)
    job_id, _ = box.receive(make_object())
    analyse_once(box, fake_service, build_not_analysed=lambda data, reason: b"never")
    assert box.ledger.get(job_id).reason == f"service-{slug}"
    assert box.ledger.get(job_id).state == "dead"


def test_report_that_cannot_be_made_leaves_a_dead_letter(
    box: Box, fake_service: FakeService
) -> None:
    """The worker lives on."""

    def fail(data: bytes, reason: str) -> bytes:
        raise ValueError("Canary^Jane")

    fake_service.script = lambda number: problem(415, "unsupported-media")
    job_id, _ = box.receive(make_object())
    analyse_once(box, fake_service, build_not_analysed=fail)
    assert box.ledger.get(job_id).state == "dead"


def test_what_is_tried_too_long_is_given_up(box: Box, fake_service: FakeService) -> None:
    """A passing state that does not pass ends as a dead letter; until then it waits."""
    fake_service.script = lambda number: problem(503, "not-ready")
    job_id, _ = box.receive(make_object())
    analyse_once(box, fake_service)
    assert (box.ledger.get(job_id).state, box.ledger.get(job_id).attempts) == ("received", 1)
    while box.ledger.get(job_id).state == "received":
        try:
            analyse_once(box, fake_service, longest_h=0.0)
        except AssertionError:  # not due yet
            continue
    assert box.ledger.get(job_id).reason == "service-not-ready"


def test_lost_bytes_are_a_dead_letter(box: Box, fake_service: FakeService) -> None:
    """A file that the disk lost is told, not waited for."""
    job_id, _ = box.receive(make_object())
    for name in box.spool.names(0):
        box.spool.remove(name)
    analyse_once(box, fake_service)
    assert box.ledger.get(job_id).reason == "bytes-missing"


def test_gateway_needs_a_destination(tmp_path: Path) -> None:
    """Results that go nowhere are a mistake, told at start."""
    with pytest.raises(StartupError, match="DESTINATIONS"):
        Gateway(GatewaySettings(spool_dir=str(tmp_path)))


def test_services_and_gateways_share_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each lets the other's variables pass and refuses its own that it does not know."""
    monkeypatch.setenv("CXR_GATEWAY_AE_TITLE", "READER")
    monkeypatch.setenv("CXR_PORT", "9000")
    assert load_settings().port == 9000
    assert load_gateway_settings().ae_title == "READER"
    monkeypatch.setenv("CXR_GATEWAY_AE_TITEL", "READER")
    with pytest.raises(StartupError, match="CXR_GATEWAY_AE_TITEL"):
        load_gateway_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CXR_GATEWAY_DESTINATIONS", "pacs"),
        ("CXR_GATEWAY_AE_TITLE", "a\\b"),
        ("CXR_GATEWAY_DATABASE_URL", "mysql://x"),
        ("CXR_GATEWAY_DIMSE_PEERS", "A@h:x"),
    ],
)
def test_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """One line for the operator, without the value, which may hold a password."""
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError, match=f"^{name}: ") as caught:
        load_gateway_settings()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is absent")
def test_dimse_over_tls(start_gateway: Start, tmp_path: Path) -> None:
    """With a certificate; who speaks without TLS is not answered."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    subprocess.run(
        [*make.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    gateway = start_gateway(dimse_tls_certificate=certificate, dimse_tls_key=key)
    context = ssl.create_default_context(cafile=str(certificate))
    entity = AE("CR1")
    entity.add_requested_context(Verification)
    entity.acse_timeout = 3
    address = ("127.0.0.1", gateway.dimse_port)
    secure = entity.associate(*address, ae_title="CXRGATEWAY", tls_args=(context, "localhost"))
    assert secure.is_established
    assert secure.send_c_echo().Status == 0
    secure.release()
    plain = entity.associate(*address, ae_title="CXRGATEWAY")
    assert not plain.is_established
    # pynetdicom leaves the socket of an association that was cut off to the collector.
    if plain.dul.socket is not None and plain.dul.socket.socket is not None:
        plain.dul.socket.socket.close()
