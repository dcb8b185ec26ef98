"""A real Orthanc on loopback, as archive of the gateway's tests."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.gateway.process import free_port, until

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass
class Orthanc:
    """A running Orthanc, which can be killed and started again.

    Attributes:
        url: Of its REST interface.
        dimse_port: Of its C-STORE; its AE title is ORTHANC.
        folder: Of its configuration, storage and log.
        process: Its process.
    """

    url: str
    dimse_port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it as it is configured in its folder, and wait until it answers."""
        assert PROGRAM is not None
        with (self.folder / "orthanc.log").open("a") as log:
            command = [PROGRAM, str(self.folder / "orthanc.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._is_up)

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()
        try:
            return httpx.get(f"{self.url}/system", timeout=5).is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as its operator would."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def instances(self) -> list[str]:
        """Give the SOP Instance UIDs of what it has."""
        found = httpx.get(f"{self.url}/instances?expand", timeout=30).json()
        return [one["MainDicomTags"]["SOPInstanceUID"] for one in found]


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start Orthanc with DICOMweb in a folder, and stop it."""
    ports = [free_port(), free_port()]
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
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    orthanc = Orthanc(f"http://127.0.0.1:{ports[0]}", ports[1], folder)
    try:
        orthanc.start()
        yield orthanc
    finally:
        orthanc.stop()
