"""What the attacks run against: services and gateways of their own, started and ended here."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.child import MeasureError
from benchmarks.connection import Target
from benchmarks.process import usage_of
from benchmarks.server import PATIENCE_S, Server, free_port, service_environment
from benchmarks.siege.clients import Reply, fetch, post
from benchmarks.siege.made.dicom import radiograph
from benchmarks.siege.made.pictures import sound_jpeg
from benchmarks.siege.measure import wait_idle
from benchmarks.siege.row import MIB
from benchmarks.siege.stow import related
from benchmarks.siege.watchers import AE_TITLE, OK, Honest

KEY = "siege-key"
SERVICE = {"CXR_EXPLAIN": "off", "CXR_PROVIDER": "cpu"}
LEFT_OVER_BYTES = 48 * MIB  # what a server may have kept of an attack and still be attacked again


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
        limited = ["/bin/sh", "-c", 'ulimit -v "$0" && exec "$@"', str(limit_bytes >> 10)]
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


class Arena:
    """Starts what is attacked.

    Args:
        bundles: Folder of bundles.
        model: Name of the model that is served.
        limit_bytes: Address space of each server.
        patience_s: How long an attack is waited for, when it is not answered or goes on costing.
        settings: CXR_* variables of the service.
    """

    def __init__(
        self,
        bundles: Path,
        model: str,
        limit_bytes: int,
        patience_s: float,
        settings: dict[str, str],
    ) -> None:
        self.bundles, self.model = bundles, model
        self.patience_s = patience_s
        self._limit_bytes = limit_bytes
        self._settings = settings
        self._kept: Attacked | None = None
        self._kept_bytes = 0

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a folder for one attack."""
        with tempfile.TemporaryDirectory(prefix="siege-") as path:
            yield Path(path)

    @contextmanager
    def service(
        self, folder: Path, bundles: Path | None = None, /, **settings: str
    ) -> Iterator[Attacked]:
        """Run a service for one attack; settings are named without ``CXR_``."""
        with self._start(folder / "log", bundles, settings) as server:
            warm_up(server)
            yield server

    @contextmanager
    def shared_service(self) -> Iterator[Attacked]:
        """Give a service that lets everybody in, the one of the attack before if it is well."""
        if self._kept is None or not self._is_well(self._kept):
            self.end()
            # In no folder of an attack: it may live longer.
            self._kept = self._start(Path(tempfile.mkdtemp(prefix="siege-")) / "log", None, {})
            warm_up(self._kept)
            self._kept_bytes = usage_of(self._kept.pid).rss_bytes
        yield self._kept

    def starts_not(self, folder: Path, longest_s: float, **settings: str) -> str:
        """Start a service that should refuse to, and give what it says."""
        try:
            with self._start(folder / "log", None, settings, patience_s=longest_s):
                return "it started"
        except MeasureError as error:
            return str(error).strip().splitlines()[-1]

    def _start(
        self,
        log: Path,
        bundles: Path | None,
        settings: Mapping[str, str],
        patience_s: float = PATIENCE_S,
    ) -> Attacked:
        chosen = SERVICE | self._settings | {"CXR_MODELS": self.model}
        chosen |= {f"CXR_{name.upper()}": value for name, value in settings.items()}
        where = ["--port", "{port}", "--bundles", str(bundles or self.bundles)]
        return Attacked(
            "the service",
            ["serve", *where],
            chosen,
            limit_bytes=self._limit_bytes,
            log=log,
            patience_s=patience_s,
        )

    def _is_well(self, server: Attacked) -> bool:
        return (
            server.is_alive
            and wait_idle(server.pid, 3.0)
            and fetch(server.at("/health/ready"), 2.0).status == OK
            and usage_of(server.pid).rss_bytes < self._kept_bytes + LEFT_OVER_BYTES
        )

    def end(self) -> None:
        """End the service that is shared."""
        if self._kept is not None:
            self._kept.stop()
            self._kept = None

    @contextmanager
    def gateway(self, folder: Path, /, **settings: str) -> Iterator[Attacked]:
        """Run a gateway for one attack; settings are named without ``CXR_GATEWAY_``."""
        dimse_port = free_port()
        chosen = {
            "spool_dir": str(folder / "spool"),
            "dimse_port": str(dimse_port),
            "ae_title": AE_TITLE,
            "min_free_bytes": "0",
            "destinations": "archive=http://127.0.0.1:9/dicom-web",
            "service_url": "http://127.0.0.1:9",
            "retry_base_s": "0.2",
            "retry_longest_s": "2",
            "drain_s": "0",
            **settings,
        }
        named = {f"CXR_GATEWAY_{name.upper()}": value for name, value in chosen.items()}
        with Attacked(
            "the gateway",
            ["gateway", "--port", "{port}"],
            named,
            limit_bytes=self._limit_bytes,
            log=folder / "log",
            dimse_port=dimse_port,
        ) as server:
            yield server


def warm_up(server: Attacked) -> None:
    """Send a picture and an object, so that what is loaded at the first of each is loaded."""
    for body in (sound_jpeg(), radiograph()):
        for _ in range(3):
            post(server.target, body, 20.0, X_API_Key=KEY)


def honest_predictions(server: Attacked, key: str = "") -> tuple[Honest, ...]:
    """Give one client that sends one picture after another."""
    return (Honest("predict", server.port, key),)


def write_keys(folder: Path) -> Path:
    """Write a file of keys with one key, and give its path."""
    entry = {
        "name": "siege",
        "sha256": hashlib.sha256(KEY.encode()).hexdigest(),
        "scopes": ["explain", "jobs", "metrics", "predict"],
    }
    path = folder / "keys.json"
    path.write_text(json.dumps({"keys": [entry]}))
    return path


def until(condition: Callable[[], bool], longest_s: float) -> bool:
    """Wait for something to become true, and say whether it did."""
    end_s = time.monotonic() + longest_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True
