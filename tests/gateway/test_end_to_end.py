"""The gateway before the real service: radiographs by C-STORE, results by STOW-RS."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.dicom_tools import store
from tests.gateway.fakes import FakeArchive
from tests.gateway.objects import COMPREHENSIVE_3D_SR
from tests.gateway.orthanc import needs_orthanc, running_orthanc
from tests.gateway.process import GatewayProcess, running_gateway, until
from tests.integrations.radiographs import SECONDARY_CAPTURE, verify_results, write_radiograph
from tests.live import LiveServer

NOT_ANALYSED = b"Not analysed"


@pytest.fixture
def gateway(live: LiveServer, archive: FakeArchive, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway between the service and an archive; what is refused gets a report."""
    pacs = f"pacs={archive.url}"
    with running_gateway(
        tmp_path, service_url=live.address, destinations=pacs, not_analysed="report"
    ) as running:
        yield running


def test_radiograph_gets_a_report_and_a_picture(
    gateway: GatewayProcess, archive: FakeArchive, shipped_bundles: Path
) -> None:
    """Both come into the source's study; a repeat of the file makes no third."""
    (golden, *_) = sorted((shipped_bundles / "resnet18" / "golden").glob("*.dcm"))
    source = dcmread(golden, stop_before_pixels=True)
    store(gateway.dimse_port, "CXRGATEWAY", golden)
    until(lambda: len(archive.objects) == 2, 90)
    made = [dcmread(io.BytesIO(data), stop_before_pixels=True) for data in archive.objects]
    assert {one.SOPClassUID for one in made} == {COMPREHENSIVE_3D_SR, SECONDARY_CAPTURE}
    assert {one.StudyInstanceUID for one in made} == {source.StudyInstanceUID}
    until(lambda: {job["state"] for job in gateway.jobs()} == {"done"})
    store(gateway.dimse_port, "CXRGATEWAY", golden)
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
    store(gateway.dimse_port, "CXRGATEWAY", tmp_path / "several.dcm")
    until(lambda: len(archive.objects) == 1, 90)
    report = dcmread(io.BytesIO(archive.objects[0]))
    assert report.SOPClassUID == COMPREHENSIVE_3D_SR
    assert NOT_ANALYSED in archive.objects[0]
    (job,) = gateway.jobs()
    assert str(job["reason"]).startswith("service-")


@needs_orthanc
def test_results_lie_in_a_real_archive(live: LiveServer, tmp_path: Path) -> None:
    """Orthanc finds both by QIDO-RS and gives them by WADO-RS; they are valid."""
    file = write_radiograph(tmp_path / "chest.dcm")
    with running_orthanc(tmp_path) as orthanc:
        chosen = {"service_url": live.address, "destinations": f"pacs={orthanc.dicomweb}"}
        with running_gateway(tmp_path, **chosen) as gateway:
            store(orthanc.dimse_port, "ORTHANC", file)
            store(gateway.dimse_port, "CXRGATEWAY", file)
            until(lambda: [job["state"] for job in gateway.jobs()] == ["done"])
            verify_results(orthanc, tmp_path)
