"""The examples of the router's page, run as they are printed, and what the other pages name."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydicom import dcmread

from service.dicom.equipment import MANUFACTURER
from service.gateway.destinations import parse_destinations
from service.gateway.settings import GatewaySettings
from tests.conftest import REPOSITORY
from tests.dicom_tools import SYSTEM_PATH, find_program, verify_valid
from tests.examples import SERVICE, blocks, links, run_example
from tests.gateway.fakes import FakeArchive
from tests.gateway.orthanc import needs_orthanc, running_orthanc
from tests.gateway.process import GatewayProcess, running_gateway, until
from tests.integrations.radiographs import write_radiograph
from tests.live import LiveServer

FOLDER = "docs/integrations"
ROUTER = f"{FOLDER}/router.md"
DCM4CHEE = f"{FOLDER}/dcm4chee.md"
PAGES = [f"{FOLDER}/README.md", f"{FOLDER}/orthanc/README.md", ROUTER, DCM4CHEE]
TO_GATEWAY = {"C-STORE": "CXRGATEWAY", "STOW-RS": "/dicomweb/"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with the radiograph the examples name."""
    return write_radiograph(tmp_path / "chest.dcm").parent


@pytest.fixture
def gateway(live: LiveServer, archive: FakeArchive, folder: Path) -> Iterator[GatewayProcess]:
    """A gateway between the service and an archive."""
    pacs = f"pacs={archive.url}"
    with running_gateway(folder, service_url=live.address, destinations=pacs) as running:
        yield running


def run_shell(part: str, folder: Path, addresses: Mapping[str, str]) -> None:
    """Run the example that has a text, at other addresses than it prints."""
    [block] = [block for block in blocks(ROUTER, "bash") if part in block]
    for program in re.findall(r"\b(curl|storescu)\b", block):
        find_program(program)
    for printed, chosen in addresses.items():
        assert printed in block
        block = block.replace(printed, chosen)
    run_example(["bash", "-euc", block], folder, PATH=SYSTEM_PATH)


def verify_files(folder: Path) -> None:
    """Validate the report and the overlay that an example has written."""
    for name, modality in (("report.dcm", "SR"), ("overlay.dcm", "OT")):
        assert dcmread(folder / name, stop_before_pixels=True).Modality == modality
        verify_valid((folder / name).read_bytes(), folder)


@pytest.mark.parametrize("way", TO_GATEWAY)
def test_gateway_takes_what_the_examples_send(
    gateway: GatewayProcess, archive: FakeArchive, folder: Path, way: str
) -> None:
    """Each makes one job, and the job two results."""
    addresses = {
        "C-STORE": {"127.0.0.1 11112": f"127.0.0.1 {gateway.dimse_port}"},
        "STOW-RS": {"127.0.0.1:8080": gateway.url.removeprefix("http://")},
    }
    run_shell(TO_GATEWAY[way], folder, addresses[way])
    until(lambda: [job["state"] for job in gateway.jobs()] == ["done"])
    assert len(archive.counts) == 2


@needs_orthanc
def test_shell_example_asks_and_stores(live: LiveServer, folder: Path) -> None:
    """Report and overlay are valid, and an archive takes both."""
    with running_orthanc(folder) as orthanc:
        addresses = {
            SERVICE: live.address.removeprefix("http://"),
            "127.0.0.1 4242": f"127.0.0.1 {orthanc.dimse_port}",
        }
        run_shell("ask()", folder, addresses)
        assert len(orthanc.instances()) == 2
    verify_files(folder)


@pytest.mark.parametrize("library", ["service.client", "import httpx"])
def test_python_examples_write_report_and_overlay(
    live: LiveServer, folder: Path, library: str
) -> None:
    """Both are valid."""
    [block] = [block for block in blocks(ROUTER, "python") if library in block]
    run_example([sys.executable, "-c", block.replace(f"http://{SERVICE}", live.address)], folder)
    verify_files(folder)


def test_every_example_is_run() -> None:
    """None is printed that no test runs."""
    shell = blocks(ROUTER, "bash")
    assert len(shell) == 3
    assert len(blocks(ROUTER, "python")) == 2


def test_dcm4chee_is_told_what_is_so() -> None:
    """Names and ports are the gateway's own, the destinations are such, our results are known."""
    text = (REPOSITORY / DCM4CHEE).read_text()
    told = dict(re.findall(r"^(dic\w+): (\S+)$", text, re.MULTILINE))
    defaults = GatewaySettings.model_fields
    assert told["dicomPort"] == str(defaults["dimse_port"].default)
    assert f"dcmURI: dicom:{defaults['ae_title'].default}\n" in text
    assert f"Manufacturer!={MANUFACTURER}" in text
    for destination in re.findall(r"dcm4chee=[^\"`]+", text):
        [parsed] = parse_destinations(destination)
        assert parsed.name == "dcm4chee"
    for name in re.findall(r"CXR_GATEWAY_(\w+)", text):
        assert name.lower() in defaults


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every file a page links to is there."""
    for link in links(page):
        assert link.exists(), link
