"""storescu -> Orthanc -> the routes of the page -> gateway -> service -> the same Orthanc."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.dicom_tools import find_program, store
from tests.examples import blocks, run_example
from tests.gateway.orthanc import Orthanc, needs_orthanc, running_orthanc
from tests.gateway.process import GatewayProcess, free_port, running_gateway, until
from tests.integrations.radiographs import verify_results, write_radiograph
from tests.live import LiveServer

PAGE = "docs/integrations/orthanc/README.md"
ORTHANC = "127.0.0.1:8042"
ROUTES = {"dimse": "/modalities/", "stow": "/stow"}

pytestmark = needs_orthanc
by_each_route = pytest.mark.parametrize("route", ROUTES)


@dataclass(frozen=True)
class Setup:
    """Orthanc as the page sets it up, and where its gateway shall be."""

    orthanc: Orthanc
    folder: Path
    port: int
    dimse_port: int
    service_url: str

    @contextmanager
    def gateway(self) -> Iterator[GatewayProcess]:
        """Start the gateway with the destination of the page."""
        [printed] = re.findall(r'CXR_GATEWAY_DESTINATIONS="(.*)"', (REPOSITORY / PAGE).read_text())
        with running_gateway(
            self.folder,
            port=self.port,
            dimse_port=self.dimse_port,
            service_url=self.service_url,
            destinations=printed.replace(f"http://{ORTHANC}", self.orthanc.url),
        ) as gateway:
            yield gateway

    def until_jobs(self, *states: str) -> None:
        """Wait for the states of Orthanc's jobs."""
        url = f"{self.orthanc.url}/jobs?expand"
        until(lambda: [job["State"] for job in httpx.get(url).json()] == [*states])


@pytest.fixture
def setup(live: LiveServer, tmp_path: Path, route: str) -> Iterator[Setup]:
    """Start Orthanc with the page's configuration and one of its scripts."""
    port, dimse_port = free_port(), free_port()
    script = tmp_path / "cxr-route.lua"
    [lua] = [block for block in blocks(PAGE, "lua") if ROUTES[route] in block]
    script.write_text(lua)
    [printed] = [block for block in blocks(PAGE, "json") if script.name in block]
    for default, chosen in (
        (f"/etc/orthanc/{script.name}", str(script)),
        ("11112", str(dimse_port)),
        ("8080", str(port)),
    ):
        assert default in printed
        printed = printed.replace(default, chosen)
    with running_orthanc(tmp_path, json.loads(printed)) as orthanc:
        yield Setup(orthanc, tmp_path, port, dimse_port, live.address)


@by_each_route
def test_results_lie_in_the_study_once(setup: Setup, tmp_path: Path) -> None:
    """A repeat is not read twice, and results are not sent at all."""
    file = write_radiograph(tmp_path / "chest.dcm")
    with setup.gateway() as gateway:
        for count in (1, 2):
            store(setup.orthanc.dimse_port, "ORTHANC", file)
            setup.until_jobs(*["Success"] * count)
            until(lambda: [job["state"] for job in gateway.jobs()] == ["done"])
            verify_results(setup.orthanc, tmp_path)


@by_each_route
def test_failed_jobs_are_resubmitted_by_the_command_of_the_page(
    setup: Setup, tmp_path: Path
) -> None:
    """While the gateway is away Orthanc's jobs fail; later they can be tried again."""
    find_program("curl")
    [command] = [block for block in blocks(PAGE, "bash") if "resubmit" in block]
    store(setup.orthanc.dimse_port, "ORTHANC", write_radiograph(tmp_path / "chest.dcm"))
    setup.until_jobs("Failure")
    with setup.gateway() as gateway:
        address = setup.orthanc.url.removeprefix("http://")
        run_example(["bash", "-euc", command.replace(ORTHANC, address)], tmp_path)
        until(lambda: [job["state"] for job in gateway.jobs()] == ["done"])
        verify_results(setup.orthanc, tmp_path)
