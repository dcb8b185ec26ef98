"""Through the gateway into a real Orthanc."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.fakes import FakeService, problem
from tests.gateway.objects import COMPREHENSIVE_3D_SR, make_object
from tests.gateway.orthanc import Orthanc, needs_orthanc, running_orthanc
from tests.gateway.process import GatewayProcess, until

Start = Callable[..., GatewayProcess]

pytestmark = needs_orthanc


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """An empty Orthanc."""
    with running_orthanc(tmp_path) as running:
        yield running


@pytest.mark.parametrize("way", ["stow", "dimse"])
def test_results_lie_in_the_study(
    start_gateway: Start, fake_service: FakeService, orthanc: Orthanc, way: str
) -> None:
    """SR and SC of each object, found by QIDO-RS; half of the service's answers are 503."""
    busy = problem(503, "not-ready")
    fake_service.script = lambda number: busy if number % 2 else None
    destination = {
        "stow": orthanc.dicomweb,
        "dimse": f"dicom://ORTHANC@127.0.0.1:{orthanc.dimse_port}",
    }[way]
    gateway = start_gateway(destinations=f"pacs={destination}", wado_url=orthanc.dicomweb)
    for i in range(4):
        data = make_object("1.2.3", instance=f"1.5.{i}")
        assert httpx.post(f"{orthanc.url}/instances", content=data).is_success
    answer = httpx.post(f"{gateway.url}/v1/studies/1.2.3:analyze", timeout=30)
    assert len(answer.json()["jobs"]) == 4
    until(lambda: len(gateway.jobs(state="done")) == 4)
    expected = {f"1.5.{i}{suffix}" for i in range(4) for suffix in ("", ".1", ".2")}
    assert sorted(orthanc.instances()) == sorted(expected)
    assert len(orthanc.find("1.2.3", SOPClassUID=COMPREHENSIVE_3D_SR)) == 4
    again = httpx.post(f"{gateway.url}/v1/studies/1.2.3:analyze", timeout=30).json()
    assert (again["known"], again["ignored"]) == (4, 8)


def test_orthanc_sends_to_the_gateway_and_is_content(
    start_gateway: Start, orthanc: Orthanc, tmp_path: Path
) -> None:
    """Its STOW-RS client counts a store as done only if every instance is listed."""
    gateway = start_gateway()
    ids = []
    for i in range(3):
        posted = httpx.post(
            f"{orthanc.url}/instances", content=make_object("1.2.3", instance=f"1.5.{i}")
        )
        ids.append(posted.json()["ID"])
    server = json.dumps({"Url": f"{gateway.url}/dicomweb/"})
    httpx.put(f"{orthanc.url}/dicom-web/servers/gateway", content=server).raise_for_status()
    body = json.dumps({"Resources": ids, "Synchronous": True})
    sent = httpx.post(f"{orthanc.url}/dicom-web/servers/gateway/stow", content=body, timeout=30)
    assert sent.status_code == 200, sent.text
    until(lambda: len(gateway.jobs(state="done")) == 3)
    node = {"AET": "CXRGATEWAY", "Host": "127.0.0.1", "Port": gateway.dimse_port}
    httpx.put(f"{orthanc.url}/modalities/gateway", content=json.dumps(node)).raise_for_status()
    stored = httpx.post(f"{orthanc.url}/modalities/gateway/store", content=ids[0], timeout=30)
    assert stored.status_code == 200, stored.text
    assert len(gateway.jobs()) in (3, 4)  # the other way may encode the same object otherwise
