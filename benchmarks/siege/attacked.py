"""A service or a gateway that is attacked: a process with limits, a log, metrics and jobs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.connection import Target
from benchmarks.server import PATIENCE_S, Server, service_environment
from benchmarks.siege.clients import Reply, fetch, post
from benchmarks.siege.stow import related


class Attacked(Server):
    """A server with limited address space, its log and its port of DIMSE, if it has one.

    Args:
        name: What messages call it.
        arguments: Behind ``python -m service``.
        settings: CXR_* variables.
        limit_bytes: Of its address space, so that an attack cannot take the machine's memory.
        log: Where its log goes.
        dimse_port: Its port of DIMSE, 0 for none.
        patience_s: How long it may take to be ready.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        settings: dict[str, str],
        *,
        limit_bytes: int,
        log: Path,
        dimse_port: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.dimse_port, self.log = dimse_port, log
        limited = [
            "/bin/sh",
            "-c",
            'ulimit -v "$0" && ulimit -S -n 1024 && exec "$@"',
            str(limit_bytes >> 10),
        ]
        super().__init__(
            name,
            [*limited, sys.executable, "-m", "service", *arguments],
            service_environment(settings),
            target_path="/v1/predict",
            ready_path="/health/ready",
            sample=b"",
            log=log,
            patience_s=patience_s,
        )

    def stop(self) -> None:
        """End it at once: what it may still be doing is of no use to anybody."""
        self.process.kill()
        super().stop()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Of HTTP."""
        return self.target.port

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def at(self, path: str) -> Target:
        """Give where a path of its is."""
        return Target(self.target.host, self.port, path)

    def events(self) -> list[dict[str, Any]]:
        """Give the lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def metrics(self) -> dict[str, float]:
        """Give its metrics, those of one name with other labels added up."""
        reply = fetch(self.at("/metrics"), 10.0)
        found: dict[str, float] = {}
        for line in reply.answer.body.decode().splitlines() if reply.answer else ():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                name = name.partition("{")[0]
                found[name] = found.get(name, 0.0) + float(value)
        return found

    def send_objects(self, objects: list[bytes]) -> list[Reply]:
        """Store objects by STOW-RS, each by itself."""
        replies = []
        for one in objects:
            kind, body = related([one])
            replies.append(post(self.at("/dicomweb/studies"), body, 30.0, Content_Type=kind))
        return replies

    def jobs(self) -> list[dict[str, Any]]:
        """Give a gateway's jobs with their deliveries, the oldest first."""
        listed = fetch(self.at("/v1/jobs?limit=500"), 10.0).document.get("jobs", [])
        return [fetch(self.at(f"/v1/jobs/{one['id']}"), 10.0).document for one in reversed(listed)]
