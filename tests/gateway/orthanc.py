"""A real Orthanc on loopback: the archive of tests, and what scripts and routes run in."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.multipart import split_related
from tests.gateway.process import free_port, until

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/bin")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

needs_orthanc = pytest.mark.skipif(
    PROGRAM is None or not DICOMWEB.is_file(),
    reason="Orthanc is absent (Debian: apt-get install orthanc orthanc-dicomweb)",
)


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
        assert self.process.poll() is None, self.log
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

    @property
    def dicomweb(self) -> str:
        """The address of its DICOMweb."""
        return f"{self.url}/dicom-web"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "orthanc.log").read_text()

    def instances(self) -> list[str]:
        """Give the SOP Instance UIDs of what it has."""
        found = httpx.get(f"{self.url}/instances?expand", timeout=30).json()
        return [one["MainDicomTags"]["SOPInstanceUID"] for one in found]

    def find(self, study: str, **query: str) -> list[dict[str, Any]]:
        """Search for a study's instances by QIDO-RS (PS3.18, 10.6); none of an unknown one."""
        answer = httpx.get(f"{self.dicomweb}/studies/{study}/instances", params=query, timeout=30)
        return list(answer.json()) if answer.is_success else []

    def fetch(self, study: str, series: str, instance: str) -> bytes:
        """Retrieve an instance by WADO-RS (PS3.18, 10.4), as it is encoded."""
        url = f"{self.dicomweb}/studies/{study}/series/{series}/instances/{instance}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        answer = httpx.get(url, headers={"Accept": accept}, timeout=30).raise_for_status()
        [data] = split_related(answer.headers["content-type"], answer.content)
        return data


@contextmanager
def running_orthanc(
    folder: Path, configuration: Mapping[str, Any] | None = None
) -> Iterator[Orthanc]:
    """Start Orthanc with DICOMweb in a folder, and stop it.

    Args:
        folder: For its configuration, storage and log.
        configuration: Added to that of the tests, and to its section DicomWeb.
    """
    added = dict(configuration or {})
    dicomweb = {"Enable": True, "Root": "/dicom-web/"} | added.pop("DicomWeb", {})
    ports = [free_port(), free_port()]
    whole = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": ports[0],
        "DicomPort": ports[1],
        "RemoteAccessAllowed": False,  # it cannot be bound to loopback
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(DICOMWEB)],
        "DicomWeb": dicomweb,
        **added,
    }
    (folder / "orthanc.json").write_text(json.dumps(whole))
    orthanc = Orthanc(f"http://127.0.0.1:{ports[0]}", ports[1], folder)
    try:
        orthanc.start()
        yield orthanc
    finally:
        orthanc.stop()
