"""Objects that come under the UID of another: each is read, and it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.gateway.http.answers import job_answer
from service.gateway.receive.intake import Intake
from service.gateway.signals import Signals
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import LOG
from tests.gateway.conftest import Box
from tests.gateway.objects import make_object

UID = "1.2.3.4.5.6.7.8.9"


@pytest.fixture
def metrics() -> GatewayMetrics:
    """What is counted."""
    return GatewayMetrics()


@pytest.fixture
def intake(box: Box, metrics: GatewayMetrics) -> Intake:
    """An intake into the box."""
    return Intake(box.inbox, box.spool, Signals(), metrics)


def take(intake: Intake, **attributes: Any) -> str:
    """Take an object and give its job."""
    with intake.spool.stage() as staged:
        staged.write(make_object(instance=UID, **attributes))
        taken = intake.take(staged, "stow")
    assert taken.job_id is not None
    return taken.job_id


@pytest.mark.parametrize(
    ("change", "pixels", "level"),
    [
        ({"PixelData": b"\1" * 512}, "other", "WARNING"),
        ({"PatientID": "CANARY4712"}, "same", "INFO"),
    ],
    ids=["other pixels", "another header"],
)
def test_another_content_of_a_uid_is_told(
    box: Box,
    intake: Intake,
    metrics: GatewayMetrics,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    pixels: str,
    level: str,
) -> None:
    """By the log, a metric and both jobs; without a UID."""
    first = take(intake)
    with caplog.at_level("INFO", LOG.name):
        second = take(intake, **change)
    [line] = [one for one in caplog.records if one.message == "other content of a known uid"]
    told = {"job": second, "other": first, "pixels": pixels}
    assert (vars(line)["fields"], line.levelname) == (told, level)
    assert f'cxr_gateway_uid_collisions_total{{pixels="{pixels}"}} 1'.encode() in metrics.render()
    assert job_answer(box.ledger.get(first)).other_contents == (second,)
    assert job_answer(box.ledger.get(second)).other_contents == (first,)
    assert UID not in caplog.text + str(vars(line)["fields"])


def test_pixels_that_are_gone_are_not_compared(
    box: Box, intake: Intake, metrics: GatewayMetrics
) -> None:
    """The first was delivered long ago."""
    take(intake)
    for name in box.spool.names(0):
        box.spool.remove(name)
    take(intake, PixelData=b"\1" * 512)
    assert b'cxr_gateway_uid_collisions_total{pixels="unknown"} 1' in metrics.render()


def test_a_repeat_is_no_collision(box: Box, intake: Intake, metrics: GatewayMetrics) -> None:
    """Nor is another object."""
    job_id = take(intake)
    assert take(intake) == job_id
    box.receive(make_object())
    assert b"uid_collisions_total{" not in metrics.render()
    assert job_answer(box.ledger.get(job_id)).other_contents == ()


def test_what_cannot_be_told_harms_no_object(
    box: Box, intake: Intake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is in the inbox, and its sender hears so."""

    def fail(*_: object) -> None:
        raise ValueError("Canary^Jane")

    monkeypatch.setattr(box.inbox, "contents", fail)
    assert box.ledger.get(take(intake)).state == "received"
