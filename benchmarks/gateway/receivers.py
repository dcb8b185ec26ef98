"""Who takes objects by C-STORE: the gateway, and what it is compared with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.child import ROOT, MeasureError
from benchmarks.process import cpu_s_of
from benchmarks.server import free_port, service_environment

HOST = "127.0.0.1"
AE_TITLE = "CXRGATEWAY"
ECHO_S = 0.1
PATIENCE_S = 30.0
STOP_S = 15.0


class Receiver:
    """A process that listens for DIMSE.

    Attributes:
        port: Its port.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port

    @property
    def cpu_s(self) -> float:
        """CPU seconds of its process tree."""
        return cpu_s_of(self._process.pid)


Start = Callable[[Path], AbstractContextManager[Receiver]]


@contextmanager
def running(
    command: list[str], port: int, env: Mapping[str, str], folder: Path
) -> Iterator[Receiver]:
    """Run a receiver until it is left.

    Args:
        command: Its command line.
        port: Of DIMSE.
        env: Its environment.
        folder: For its log.

    Raises:
        MeasureError: It does not answer C-ECHO.
    """
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=dict(env), stdout=log, stderr=log)
    try:
        end_s = time.monotonic() + PATIENCE_S
        echo = [tool("echoscu"), "-aec", AE_TITLE, HOST, str(port)]
        while subprocess.run(echo, capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > end_s:
                raise MeasureError(f"{command[:4]} does not listen: {(folder / 'log').read_text()}")
            time.sleep(ECHO_S)
        yield Receiver(process, port)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tool(name: str) -> str:
    """Find a program of dcmtk.

    Raises:
        MeasureError: It is absent.
    """
    found = shutil.which(name)
    if found is None:
        raise MeasureError(f"{name} is absent: install dcmtk")
    return found


def gateway(service_url: str, archive_url: str, workers: int, http_port: int = 0) -> Start:
    """Give how to start the gateway in a folder."""

    def start(folder: Path) -> AbstractContextManager[Receiver]:
        port = free_port()
        settings = {
            "SPOOL_DIR": str(folder / "spool"),
            "PORT": str(http_port),
            "DIMSE_PORT": str(port),
            "AE_TITLE": AE_TITLE,
            "SERVICE_URL": service_url,
            "DESTINATIONS": f"archive={archive_url}/dicom-web",
            "ANALYSIS_WORKERS": str(workers),
        }
        env = service_environment(
            {f"CXR_GATEWAY_{name}": value for name, value in settings.items()}
        )
        return running([sys.executable, "-m", "service", "gateway"], port, env, folder)

    return start


def null(folder: Path) -> AbstractContextManager[Receiver]:
    """Start a receiver that keeps nothing, with the library the gateway uses."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gateway.null_scp", str(port)]
    return running(command, port, os.environ, folder)


def storescp(folder: Path) -> AbstractContextManager[Receiver]:
    """Start dcmtk's receiver, which writes files and does not sync them."""
    port = free_port()
    (folder / "kept").mkdir()
    command = [tool("storescp"), "-aet", AE_TITLE, "-od", str(folder / "kept"), str(port)]
    return running(command, port, os.environ, folder)


def orthanc(folder: Path) -> AbstractContextManager[Receiver]:
    """Start Orthanc as it is installed, with SQLite.

    Raises:
        MeasureError: It is absent.
    """
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin")
    if program is None:
        raise MeasureError("Orthanc is absent")
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "kept"),
        "IndexDirectory": str(folder / "kept"),
        "HttpPort": free_port(),
        "RemoteAccessAllowed": False,
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    return running([program, str(folder / "orthanc.json")], port, os.environ, folder)
