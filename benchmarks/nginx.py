"""nginx in front of replicas that come and go."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.child import MeasureError
from benchmarks.connection import Target
from benchmarks.server import HOST, POLL_S, free_port

CONFIGURATION = Path(__file__).parent / "nginx.conf"

NEVER = "off"
UNSENT = "error timeout"
ALWAYS = "error timeout http_502 http_503 non_idempotent"
"""When another replica is asked: ``proxy_next_upstream``."""

START_S = 10.0
RELOAD_S = 0.3  # until the new workers listen and the old ones do not


def find_nginx() -> str | None:
    """Give nginx's path, None if it is not installed."""
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin")


class Nginx:
    """Runs nginx on loopback until it is left.

    Args:
        folder: For its files.
        replicas: Where the replicas are.
        repeat: When another replica is asked.

    Raises:
        MeasureError: It is not installed, or does not start.
    """

    def __init__(self, folder: Path, replicas: Sequence[Target], repeat: str) -> None:
        program = find_nginx()
        if program is None:
            raise MeasureError("nginx is not installed")
        self._folder = folder
        folder.chmod(0o755)  # its workers are another user, and bodies may lie there
        self.target = Target(HOST, free_port(), "/v1/predict")
        self._write(replicas, repeat)
        self._log = (folder / "error.log").open("a")
        self.process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )
        end_s = time.monotonic() + START_S
        while not (folder / "nginx.pid").is_file() or not (folder / "nginx.pid").read_text():
            if self.process.poll() is not None or time.monotonic() > end_s:
                self.stop()
                raise MeasureError(f"nginx does not start: {(folder / 'error.log').read_text()}")
            time.sleep(POLL_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def use(self, replicas: Sequence[Target], repeat: str) -> None:
        """Send requests to these replicas from now on; what is under way is finished."""
        self._write(replicas, repeat)
        self.process.send_signal(signal.SIGHUP)
        time.sleep(RELOAD_S)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(START_S)
        self._log.close()

    def _write(self, replicas: Sequence[Target], repeat: str) -> None:
        text = CONFIGURATION.read_text().partition("\n\n")[2]
        chosen = {"port": self.target.port, "folder": self._folder, "repeat": repeat}
        for name, value in chosen.items():
            text = text.replace(f"{{{name}}}", str(value))
        (self._folder / "nginx.conf").write_text(text)
        servers = (f"server {one.host}:{one.port} max_fails=1 fail_timeout=1s;" for one in replicas)
        (self._folder / "servers.conf").write_text("\n".join(servers) + "\n")
