"""A real Orthanc on loopback, as archive of the gateway's tests."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.gateway.process import until

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc.

    Attributes:
        url: Of its REST interface.
        dimse_port: Of its C-STORE; its AE title is ORTHANC.
    """

    url: str
    dimse_port: int

    def instances(self) -> list[str]:
        """Give the SOP Instance UIDs of what it has."""
        found = httpx.get(f"{self.url}/instances?expand", timeout=30).json()
        return [one["MainDicomTags"]["SOPInstanceUID"] for one in found]


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start Orthanc with DICOMweb in a folder, and stop it."""
    assert PROGRAM is not None
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": ports[0],
        "DicomPort": ports[1],
        "RemoteAccessAllowed": False,  # it cannot be bound to loopback
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(DICOMWEB)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([PROGRAM, str(path)], stdout=log, stderr=log)
    orthanc = Orthanc(f"http://127.0.0.1:{ports[0]}", ports[1])

    def is_up() -> bool:
        assert process.poll() is None, (folder / "orthanc.log").read_text()
        try:
            return httpx.get(f"{orthanc.url}/system", timeout=5).is_success
        except httpx.TransportError:
            return False

    try:
        until(is_up)
        yield orthanc
    finally:
        process.terminate()
        process.wait(30)
