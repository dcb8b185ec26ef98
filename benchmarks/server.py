"""A server as a process: started, asked until it answers, measured, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.child import ROOT, MeasureError
from benchmarks.connection import Target, build_request
from benchmarks.process import Usage, cpu_s_of, tree_of, usage_of
from benchmarks.tally import OK

HOST = "127.0.0.1"
PATIENCE_S = 120.0
POLL_S = 0.01
STOP_S = 40.0


def free_port() -> int:
    """Give a port that nobody uses now."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


class Server:
    """Runs a command until it is left.

    Args:
        name: What messages call it.
        command: Its command line; ``{port}`` is replaced.
        env: Its environment.
        target_path: Path and query of predictions.
        ready_path: Page that answers 200 once it is ready; None: a prediction is tried.
        sample: A file to try.
        port: To listen on; any free one if 0.
        log: File that gets what it writes to standard output; None: nobody does.
        patience_s: How long it may take to be ready.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        env: Mapping[str, str],
        *,
        target_path: str,
        ready_path: str | None,
        sample: bytes,
        port: int = 0,
        log: Path | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.name = name
        self.target = Target(HOST, port or free_port(), target_path)
        self.start_s = 0.0
        self._ready_path = ready_path
        self._sample = sample
        self._patience_s = patience_s
        # What it says is kept in a file: a full pipe would stop it.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop
        self._started_s = time.perf_counter()
        with (log or Path(os.devnull)).open("a") as written:
            self.process = subprocess.Popen(
                [part.replace("{port}", str(self.target.port)) for part in command],
                cwd=ROOT,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=self._said,
                text=True,
                start_new_session=True,  # so that it can be ended with all its workers
            )
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_ready(self) -> None:
        path = self._ready_path
        target = Target(HOST, self.target.port, path or self.target.path)
        request = build_request(target, None if path else self._sample)
        while self.age_s < self._patience_s:
            if self.process.poll() is not None:
                raise MeasureError(f"{self.name} ended with {self.process.returncode}: {self.said}")
            if status_of(target, request) == OK:
                self.start_s = self.age_s
                return
            time.sleep(POLL_S)
        raise MeasureError(f"{self.name} was not ready after {self._patience_s:.0f} s: {self.said}")

    @property
    def age_s(self) -> float:
        """Seconds since its process was started."""
        return time.perf_counter() - self._started_s

    @property
    def said(self) -> str:
        """The end of what it wrote to standard error."""
        self._said.seek(0)
        return self._said.read()[-1000:]

    @property
    def cpu_s(self) -> float:
        """CPU seconds of its process tree."""
        return cpu_s_of(self.process.pid)

    @property
    def usage(self) -> Usage:
        """CPU and memory of its process tree."""
        return usage_of(self.process.pid)

    def stop(self) -> None:
        """End it, and whatever of its process tree does not end with it."""
        tree = tree_of(self.process.pid)
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in tree[1:]:
            try:
                # Only what still belongs to the session that was started here.
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        self._said.close()


def status_of(target: Target, request: bytes, timeout_s: float = 10.0) -> int | None:
    """Give the status a request is answered with now; None if it is not answered."""
    try:
        with socket.create_connection((target.host, target.port), timeout_s) as connection:
            connection.sendall(request)
            return int(connection.recv(12)[9:12])
    except (OSError, ValueError):  # ended before the status
        return None


def start_service(
    bundles: Path, model: str, sample: bytes, settings: Mapping[str, str], *, port: int = 0
) -> Server:
    """Start our service.

    Args:
        bundles: Folder of bundles.
        model: The one to load, or several with commas.
        sample: A file to try.
        settings: CXR_* variables.
        port: To listen on; any free one if 0.
    """
    return Server(
        "the service",
        [sys.executable, "-m", "service", "serve", "--port", "{port}", "--bundles", str(bundles)],
        service_environment(settings) | {"CXR_MODELS": model},
        target_path="/v1/predict",
        ready_path="/health/ready",
        sample=sample,
        port=port,
    )


def service_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Give this process's environment with these CXR_* variables and no others."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return mine | {"CXR_ACCESS": "anonymous", "CXR_GATEWAY_ACCESS": "anonymous"} | dict(settings)
