"""The gateway as a process: everything in, everything out, nothing told of a patient."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
)
from pynetdicom import AE, evt

from service.gateway.dimse.association import close_rejected
from service.multipart import build_related
from tests.conftest import REPOSITORY
from tests.gateway.fakes import FakeArchive, FakeService, problem
from tests.gateway.objects import CANARIES, COMPREHENSIVE_3D_SR, make_object
from tests.gateway.process import GatewayProcess, until

Start = Callable[..., GatewayProcess]


def stow(gateway: GatewayProcess, *objects: bytes, study: str = "") -> httpx.Response:
    """Send objects by STOW-RS."""
    content_type, body = build_related(objects)
    url = f"{gateway.url}/dicomweb/studies{study and '/' + study}"
    headers = {"Content-Type": content_type}
    return httpx.post(url, content=body, headers=headers, timeout=30)


def c_store(
    gateway: GatewayProcess, *objects: bytes, calling: str = "CR1", called: str = "CXRGATEWAY"
) -> list[int]:
    """Send objects by C-STORE and give the statuses; empty if the association is rejected."""
    entity = AE(calling)
    sets = [dcmread(io.BytesIO(data)) for data in objects]
    for ds in sets:
        entity.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", gateway.dimse_port, ae_title=called)
    if not association.is_established:
        close_rejected(association)
        return []
    statuses = [association.send_c_store(ds).Status for ds in sets]
    association.release()
    return statuses


def items(response: httpx.Response, tag: str) -> list[Any]:
    """Give the items of a sequence of a DICOM JSON answer."""
    return list(response.json().get(tag, {}).get("Value", []))


def test_stow_lists_every_instance(start_gateway: Start, archive: FakeArchive) -> None:
    """Orthanc counts a store as done only if each is listed; each gives an SR and an SC."""
    gateway = start_gateway()
    response = stow(gateway, *(make_object("1.2", instance=f"1.2.{i}") for i in range(3)))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    listed = [item["00081155"]["Value"][0] for item in items(response, "00081199")]
    assert listed == ["1.2.0", "1.2.1", "1.2.2"]
    until(lambda: len(archive.arrivals) == 6)
    assert archive.arrivals == [f"1.2.{i}.{j}" for i in range(3) for j in (1, 2)]
    until(lambda: {job["state"] for job in gateway.jobs()} == {"done"})


def test_stow_tells_what_failed(start_gateway: Start) -> None:
    """202 if some are stored, 409 if none; each failure has its reason."""
    gateway = start_gateway()
    some = stow(gateway, make_object("1.2", instance="1.5"), make_object("1.3"), study="1.2")
    assert some.status_code == 202
    assert [i["00081155"]["Value"][0] for i in items(some, "00081199")] == ["1.5"]
    assert [i["00081197"]["Value"][0] for i in items(some, "00081198")] == [0xC409]
    none = stow(gateway, b"no dicom")
    assert none.status_code == 409
    assert [i["00081197"]["Value"][0] for i in items(none, "0008119A")] == [0xC000]
    empty = httpx.post(f"{gateway.url}/dicomweb/studies", content=b"x")
    assert (empty.status_code, empty.json()["type"]) == (400, "/docs/problems#invalid-request")


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_every_encoding_is_filed(start_gateway: Start, syntax: str) -> None:
    """The header is read in each encoding, the bytes kept as they came."""
    gateway = start_gateway()
    assert stow(gateway, make_object("1.7", instance="1.5", syntax=syntax)).status_code == 200
    until(lambda: [job["state"] for job in gateway.jobs()] == ["done"])


def test_c_store_of_a_repeat_and_of_other_classes(
    start_gateway: Start, archive: FakeArchive
) -> None:
    """A repeat is success; our own results and what is not analysed are taken and dropped."""
    gateway = start_gateway()
    data = make_object(instance="1.5")
    assert c_store(gateway, data, data) == [0, 0]
    assert c_store(gateway, make_object(sop_class=CTImageStorage)) == [0]
    assert c_store(gateway, make_object(sop_class=COMPREHENSIVE_3D_SR)) == [0]
    assert c_store(gateway, make_object(Manufacturer="cxr-inference")) == [0]
    until(lambda: sorted(archive.arrivals) == ["1.5.1", "1.5.2"])
    came_back = make_object(instance="1.5.2")
    assert c_store(gateway, came_back) == [0]
    assert [job["channel"] for job in gateway.jobs()] == ["dimse"]


def test_only_known_peers_are_let_in(start_gateway: Start) -> None:
    """Calling title, called title and address must all be right."""
    gateway = start_gateway(dimse_peers="CR1 CR2@10.9.9.9")
    data = make_object()
    assert c_store(gateway, data) == [0]
    assert c_store(gateway, data, calling="CR2") == []
    assert c_store(gateway, data, calling="CR3") == []
    assert c_store(gateway, data, called="OTHER") == []


def test_full_disk_is_told_to_senders(start_gateway: Start) -> None:
    """A700 and 507, so that they keep what they have; the gateway stays ready."""
    gateway = start_gateway(min_free_bytes=10**15)
    assert c_store(gateway, make_object()) == [0xA700]
    response = stow(gateway, make_object())
    assert response.status_code == 507
    assert response.json()["type"] == "/docs/problems#insufficient-storage"
    assert "retry-after" in response.headers
    assert httpx.get(f"{gateway.url}/health/ready").status_code == 200
    assert "cxr_gateway_accepting 0.0" in httpx.get(f"{gateway.url}/metrics").text


def test_study_is_pulled_and_analysed(start_gateway: Start, archive: FakeArchive) -> None:
    """By WADO-RS, in its own encodings; unknown studies and absent sources are told apart."""
    gateway = start_gateway(wado_url=archive.url)
    archive.studies["1.2"] = [
        make_object("1.2", instance="1.5"),
        make_object("1.2", sop_class=COMPREHENSIVE_3D_SR),
    ]
    answer = httpx.post(f"{gateway.url}/v1/studies/1.2:analyze")
    assert answer.status_code == 202
    assert (len(answer.json()["jobs"]), answer.json()["ignored"]) == (1, 1)
    assert httpx.post(f"{gateway.url}/v1/studies/1.2:analyze").json()["known"] == 1
    assert httpx.post(f"{gateway.url}/v1/studies/1.3:analyze").status_code == 404
    assert httpx.post(f"{gateway.url}/v1/studies/x..:analyze").status_code == 400
    until(lambda: sorted(archive.arrivals) == ["1.5.1", "1.5.2"])
    archive.stop()
    assert httpx.post(f"{gateway.url}/v1/studies/1.2:analyze").status_code == 502


def test_dead_letter_is_shown_and_retried(
    start_gateway: Start, fake_service: FakeService, archive: FakeArchive
) -> None:
    """Over HTTP and on the command line, without UIDs unless an operator asks."""
    fake_service.script = lambda number: problem(422, "unreadable-image") if number < 3 else None
    gateway = start_gateway()
    stow(gateway, make_object("1.2.77", instance="1.5"))
    until(lambda: gateway.jobs(state="dead"))
    [job] = gateway.jobs()
    assert job["reason"] == "service-unreadable-image"
    assert "1.2.77" not in str(job)

    def command(*arguments: str) -> str:
        run = subprocess.run(
            [sys.executable, "-m", "service", "jobs", *arguments],
            cwd=REPOSITORY,
            env=gateway._environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout

    assert job["id"] in command("list", "--state", "dead")
    assert "1.2.77" not in command("list") + command("show", job["id"])
    assert "1.2.77" in command("show", job["id"], "--uids")
    assert httpx.post(f"{gateway.url}/v1/jobs/{job['id']}:retry").status_code == 200
    until(lambda: gateway.jobs(state="dead") and fake_service.requests == 2)
    assert "1 jobs begin again" in command("retry", "--all-dead")
    until(lambda: gateway.jobs(state="done"))
    shown = httpx.get(f"{gateway.url}/v1/jobs/{job['id']}").json()
    assert [way["state"] for way in shown["deliveries"]] == ["delivered"]
    assert httpx.post(f"{gateway.url}/v1/jobs/{job['id']}:retry").status_code == 409
    assert httpx.get(f"{gateway.url}/v1/jobs/nothing").status_code == 404
    assert "1 jobs purged" in command("purge", "--rows")
    assert gateway.jobs() == []


def test_jobs_come_in_pages(start_gateway: Start) -> None:
    """The newest first, each once."""
    gateway = start_gateway()
    stow(gateway, *(make_object() for _ in range(5)))
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = httpx.get(f"{gateway.url}/v1/jobs", params=query).json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert seen == [job["id"] for job in gateway.jobs()]
    assert len(seen) == 5
    assert httpx.get(f"{gateway.url}/v1/jobs?before=x").status_code == 400
    assert httpx.get(f"{gateway.url}/v1/jobs?state=x").status_code == 400


def test_results_go_out_by_c_store(start_gateway: Start) -> None:
    """To a DIMSE node that is away at first."""
    arrived: list[str] = []

    def on_store(event: evt.Event) -> int:
        arrived.append(str(event.request.AffectedSOPInstanceUID))
        return 0xA700 if len(arrived) == 1 else 0

    entity = AE("PACS")
    for sop_class in (COMPREHENSIVE_3D_SR, "1.2.840.10008.5.1.4.1.1.7"):
        entity.add_supported_context(sop_class)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)]
    )
    try:
        port = server.socket.getsockname()[1]
        gateway = start_gateway(destinations=f"pacs=dicom://PACS@127.0.0.1:{port}")
        stow(gateway, make_object(instance="1.5"))
        until(lambda: gateway.jobs(state="done"))
    finally:
        entity.shutdown()
    assert arrived == ["1.5.1", "1.5.1", "1.5.2"]


def test_second_gateway_on_a_spool_is_refused(start_gateway: Start) -> None:
    """On SQLite one process owns the inbox; it ends with one line."""
    start_gateway()
    with pytest.raises(AssertionError, match="Another gateway uses this spool"):
        start_gateway()


@pytest.mark.skipif(not shutil.which("storescu"), reason="dcmtk is absent (apt-get install dcmtk)")
def test_dcmtk_echoes_and_stores(start_gateway: Start, tmp_path: Path) -> None:
    """The field's own tools, with a compressed transfer syntax too."""
    gateway = start_gateway()
    node = ["-aec", "CXRGATEWAY", "127.0.0.1", str(gateway.dimse_port)]
    subprocess.run(["echoscu", *node], check=True, timeout=30)
    for i in range(3):
        (tmp_path / f"{i}.dcm").write_bytes(make_object(instance=f"1.5.{i}", side=200))
    files = [str(tmp_path / f"{i}.dcm") for i in range(3)]
    subprocess.run(["storescu", *node, *files], check=True, timeout=30)
    packed = str(tmp_path / "packed.dcm")
    subprocess.run(["dcmcjpeg", files[0], packed], check=True, timeout=30)
    assert dcmread(packed).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    subprocess.run(["storescu", "-xs", *node, packed], check=True, timeout=30)
    until(lambda: len(gateway.jobs(state="done")) == 4)


def test_nothing_of_a_patient_is_told(
    start_gateway: Start, fake_service: FakeService, archive: FakeArchive, tmp_path: Path
) -> None:
    """Canaries in every path: success, retries, refusals, malformed objects, rejected peers."""
    fake_service.script = lambda number: [
        problem(503, "not-ready"),
        (500, {}, CANARIES[0].encode()),
        problem(422, "unreadable-image"),
        None,
    ][number % 4]
    gateway = start_gateway(log_level="debug", dimse_peers="CR1", keep_done_h=1)
    told = [stow(gateway, make_object(f"1.2.7777.{i}")).text for i in range(6)]
    broken = make_object(PatientName="Canary^Jane")
    told.append(stow(gateway, broken[:300], broken[:200], b"\0" * 128 + b"DICM" + broken).text)
    odd = make_object(StudyInstanceUID="1.2.7777")
    c_store(gateway, odd, make_object(PatientBirthDate="19660606"))
    c_store(gateway, odd, calling="CANARY4711")
    told.append(httpx.get(f"{gateway.url}/v1/jobs/CANARY4711").text)
    until(lambda: not {job["state"] for job in gateway.jobs()} & {"received", "analysing"})
    told += [str(gateway.jobs()), httpx.get(f"{gateway.url}/metrics").text]
    told.append(httpx.get(f"{gateway.url}/health").text)
    process = gateway.process
    assert process is not None
    assert process.stderr is not None
    process.terminate()
    told.append(process.stderr.read())
    told.append((tmp_path / "log0").read_text())
    for canary in (*CANARIES, "Jane", "1.2.7777"):
        # STOW's answer names instances to who sent them; nothing else names anything.
        assert not any(canary in one for one in told)
    assert not list(Path("/tmp").glob("tmp*.dcm"))
