"""The gateway as a process of its own."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import REPOSITORY


def until(condition: Callable[[], Any], longest_s: float = 60.0) -> None:
    """Wait for something to become true."""
    end_s = time.monotonic() + longest_s
    while not condition():
        if time.monotonic() > end_s:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)


def free_port() -> int:
    """Return a free port of loopback, none that the kernel may assign in the meantime."""
    while True:
        with (
            suppress(OSError),
            socket.create_server(("127.0.0.1", random.randint(20000, 32000))) as free,
        ):
            return int(free.getsockname()[1])


def gateway_environment(spool: Path, **settings: Any) -> dict[str, str]:
    """Give the environment of a gateway for tests: any ports, short waits."""
    chosen = {
        "spool_dir": spool,
        "port": 0,
        "dimse_port": 0,
        "access": "anonymous",
        "min_free_bytes": 0,
        "retry_base_s": 0.05,
        "retry_longest_s": 0.3,
        "analysis_timeout_s": 5,
        "delivery_timeout_s": 5,
        "lease_s": 8,
        "drain_s": 3,
        **settings,
    }
    ours = {f"CXR_GATEWAY_{name.upper()}": str(value) for name, value in chosen.items()}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return kept | ours


class GatewayProcess:
    """``python -m service gateway``, which can be killed and started again."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self.process: subprocess.Popen[str] | None = None
        self.url, self.dimse_port = "", 0

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", "gateway"],
                cwd=REPOSITORY,
                env=self._environment,
                stdout=log,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert self.process.stderr is not None
        told = ""
        for line in self.process.stderr:
            told += line
            if match := re.search(r"STOW-RS: (https?://[\d.]+:\d+)", line):
                self.url = match[1]
            if match := re.search(r"DIMSE: .*:(\d+)", line):
                self.dimse_port = int(match[1])
            if "Jobs:" in line:
                break
        else:
            code = self.process.wait()
            self.process.stderr.close()
            raise AssertionError(f"the gateway ended with {code}: {told}")
        # Later starts take the same ports, as in life.
        self._environment["CXR_GATEWAY_PORT"] = self.url.rpartition(":")[2]
        self._environment["CXR_GATEWAY_DIMSE_PORT"] = str(self.dimse_port)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End it as its operator would, and give the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = None
        return code

    def jobs(self, **query: Any) -> list[dict[str, Any]]:
        """Ask for its jobs."""
        answer = httpx.get(f"{self.url}/v1/jobs", params={"limit": 500, **query}, timeout=30)
        return list(answer.json()["jobs"])


@contextmanager
def running_gateway(folder: Path, **settings: Any) -> Iterator[GatewayProcess]:
    """Start a gateway before a real service, which takes longer than a fake, and kill it at last.

    Args:
        folder: For its spool and log.
        **settings: Over those of :func:`gateway_environment`.
    """
    chosen = {"analysis_timeout_s": 30, "lease_s": 60, **settings}
    gateway = GatewayProcess(gateway_environment(folder / "spool", **chosen), folder / "log")
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.kill()
