"""The gateway before the real service: radiographs by C-STORE, results by STOW-RS."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.gateway.fakes import FakeArchive
from tests.gateway.process import GatewayProcess, gateway_environment, until
from tests.live import running_server

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NOT_ANALYSED = b"Not analysed"


@pytest.fixture(scope="module")
def service_url(shipped_bundles: Path) -> Iterator[str]:
    """The service with the shipped bundles."""
    with running_server(shipped_bundles) as server:
        yield server.address


@pytest.fixture
def gateway(service_url: str, archive: FakeArchive, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway between the service and an archive; what is refused gets a report."""
    environment = gateway_environment(
        tmp_path / "spool",
        service_url=service_url,
        destinations=f"pacs={archive.url}",
        analysis_timeout_s=30,
        lease_s=60,
        not_analysed="report",
    )
    process = GatewayProcess(environment, tmp_path / "log")
    process.start()
    yield process
    process.kill()


def store(gateway: GatewayProcess, *files: Path) -> None:
    """Send files with dcmtk, as they are encoded."""
    program = shutil.which("storescu")
    if program is None:
        pytest.skip("storescu is absent (Debian: apt-get install dcmtk)")
    node = ["-aec", "CXRGATEWAY", "127.0.0.1", str(gateway.dimse_port)]
    command = [program, "-R", *node, *map(str, files)]
    sent = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert sent.returncode == 0, sent.stderr


def test_radiograph_gets_a_report_and_a_picture(
    gateway: GatewayProcess, archive: FakeArchive, shipped_bundles: Path
) -> None:
    """Both come into the source's study; a repeat of the file makes no third."""
    (golden, *_) = sorted((shipped_bundles / "resnet18" / "golden").glob("*.dcm"))
    source = dcmread(golden, stop_before_pixels=True)
    store(gateway, golden)
    until(lambda: len(archive.objects) == 2, 90)
    made = [dcmread(io.BytesIO(data), stop_before_pixels=True) for data in archive.objects]
    assert {one.SOPClassUID for one in made} == {COMPREHENSIVE_3D_SR, SECONDARY_CAPTURE}
    assert {one.StudyInstanceUID for one in made} == {source.StudyInstanceUID}
    until(lambda: {job["state"] for job in gateway.jobs()} == {"done"})
    store(gateway, golden)
    until(lambda: {job["state"] for job in gateway.jobs()} == {"done"})
    assert len({one.SOPInstanceUID for one in made} | set(archive.counts)) == 2


def test_refused_object_gets_a_report_with_the_reason(
    gateway: GatewayProcess, archive: FakeArchive, shipped_bundles: Path, tmp_path: Path
) -> None:
    """What is no single-frame radiograph is told to the archive, not dropped."""
    (golden, *_) = sorted((shipped_bundles / "resnet18" / "golden").glob("*.dcm"))
    several = dcmread(golden)
    several.NumberOfFrames, several.PixelData = 2, 2 * several.PixelData
    several.save_as(tmp_path / "several.dcm")
    store(gateway, tmp_path / "several.dcm")
    until(lambda: len(archive.objects) == 1, 90)
    report = dcmread(io.BytesIO(archive.objects[0]))
    assert report.SOPClassUID == COMPREHENSIVE_3D_SR
    assert NOT_ANALYSED in archive.objects[0]
    (job,) = gateway.jobs()
    assert str(job["reason"]).startswith("service-")
