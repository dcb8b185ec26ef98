"""Where attacks take place: services and gateways of their own are started and ended here."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.child import MeasureError
from benchmarks.process import usage_of
from benchmarks.server import PATIENCE_S, free_port
from benchmarks.siege.attacked import Attacked
from benchmarks.siege.clients import fetch, post
from benchmarks.siege.made.dicom import radiograph
from benchmarks.siege.made.pictures import sound_jpeg
from benchmarks.siege.measure import wait_idle
from benchmarks.siege.row import MIB
from benchmarks.siege.watchers import AE_TITLE, OK, Honest

KEY = "siege-key"
SERVICE = {"CXR_EXPLAIN": "off", "CXR_PROVIDER": "cpu"}
LEFT_OVER_BYTES = 48 * MIB  # what a server may have kept of an attack and still be attacked again


class Arena:
    """Starts what is attacked, between entering and leaving it.

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
        self._folder = tempfile.TemporaryDirectory(prefix="siege-")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_shared()
        self._folder.cleanup()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give a folder for one attack."""
        with tempfile.TemporaryDirectory(dir=self._folder.name) as path:
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
            self._end_shared()
            self._kept = self._start(Path(self._folder.name) / "log", None, {})
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

    def _end_shared(self) -> None:
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
