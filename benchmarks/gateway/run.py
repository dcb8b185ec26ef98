"""One run: what is taken in beside other receivers, what is analysed beside the service alone."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.child import MeasureError
from benchmarks.contest import RAMP_SHARE, plan_for, run_load
from benchmarks.files import Files, find_files
from benchmarks.gateway.accept import association_each, one_association, send
from benchmarks.gateway.objects import make_objects
from benchmarks.gateway.receivers import HOST, Start, gateway, null, orthanc, storescp
from benchmarks.machine import describe_machine
from benchmarks.neighbours import Neighbours
from benchmarks.options import Options
from benchmarks.server import Server, free_port, service_environment, start_service
from benchmarks.tally import percentile, summarise
from service.gateway.work.analysis import ACCEPT

ACCEPTED = 200
ANALYSED = 100
LONE = 10
WORKERS = 4
LONE_PAUSE_S = 0.5
POLL_S = 0.01
SETTINGS = {"CXR_PROVIDER": "cpu"}


def run_gateway(options: Options) -> dict[str, Any]:
    """Measure, and give the results as JSON."""
    results: dict[str, Any] = {
        "kind": "gateway",
        "machine": describe_machine(),
        "options": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "settings": options.settings,
        },
    }
    neighbours = Neighbours()
    files = find_files(options.data, options.cache / "phantoms")
    results["files"] = {
        "kind": files.kind,
        "count": len(files.paths),
        "mean_kib": files.mean_bytes / 1024,
    }
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="cxr-gateway-") as folder:
        for number in range(options.rounds):
            here = Path(folder) / str(number)
            here.mkdir()
            rounds.append(_round(options, files, here))
            print(f"round {number + 1}: {rounds[-1]}", file=sys.stderr)
    results["rounds"] = rounds
    results["medians"] = _medians(rounds)
    results["neighbour_cores"] = neighbours.cores()
    return results


def _round(options: Options, files: Files, folder: Path) -> dict[str, Any]:
    paths = make_objects(files.paths, folder / "objects", ACCEPTED)
    found: dict[str, Any] = {"accept": {}, "each": {}, "accept_cpu_ms": {}}
    with mute_service() as mute:
        receivers: dict[str, Start] = {
            "gateway": gateway(mute, f"http://{HOST}:{free_port()}", WORKERS),
            "null": null,
            "storescp": storescp,
            "orthanc": orthanc,
        }
        for name, start in receivers.items():
            for what, measure in (("accept", one_association), ("each", association_each)):
                place = folder / f"{name}-{what}"
                place.mkdir()
                with start(place) as receiver:
                    before_s = receiver.cpu_s
                    found[what][name] = measure(receiver, paths)
                    if what == "accept":
                        cpu_s = receiver.cpu_s - before_s
                        found["accept_cpu_ms"][name] = cpu_s / len(paths) * 1000
    for model in options.models:
        place = folder / model
        place.mkdir()
        found[model] = _analyse(options, files, model, paths[:ANALYSED], place)
    return found


@contextmanager
def mute_service() -> Iterator[str]:
    """Give the address of a service that takes requests and never answers."""
    with socket.create_server((HOST, 0), backlog=64) as listener:
        yield f"http://{HOST}:{listener.getsockname()[1]}"


def _analyse(
    options: Options, files: Files, model: str, paths: Sequence[Path], folder: Path
) -> dict[str, Any]:
    sample = files.typical.read_bytes()
    settings = SETTINGS | options.settings
    with start_service(options.bundles, model, sample, settings) as service:
        alone = _service_alone(service, paths, options.seconds)
        with (
            running_archive() as archive,
            gateway(f"http://{HOST}:{service.target.port}", archive.url, WORKERS)(
                folder
            ) as receiver,
        ):
            lone = []
            for path in make_objects(files.paths, folder / "lone", LONE):
                began_s = time.monotonic()
                before = archive.count()
                send(receiver, [path])
                lone.append(archive.wait_for(before + 2) - began_s)
                time.sleep(LONE_PAUSE_S)
            before = archive.count()
            cpu_s = receiver.cpu_s
            began_s = time.monotonic()
            send(receiver, paths)
            sent_s = time.monotonic()
            ended_s = archive.wait_for(before + 2 * len(paths))
            cpu_s = receiver.cpu_s - cpu_s
    per_s = len(paths) / (ended_s - began_s)
    return {
        "alone_per_s": alone,
        "per_s": per_s,
        "of_service": per_s / alone,
        "sent_s": sent_s - began_s,
        "last_s": ended_s - began_s,
        "lone_p50_s": percentile(lone, 0.5),
        "cpu_ms": cpu_s / len(paths) * 1000,
    }


def _service_alone(service: Server, paths: Sequence[Path], seconds: float) -> float:
    plan = plan_for(
        service,
        tuple(paths),
        path="/v1/explain",
        accept=ACCEPT,
        concurrency=WORKERS,
        seconds=seconds,
        ramp_s=RAMP_SHARE * seconds,
    )
    loaded = run_load(plan, service.process.pid)
    per_s = summarise(loaded.phases["during"], seconds)["per_s"]
    if not per_s:
        raise MeasureError(f"the service answered nothing: {service.said}")
    return float(per_s)


class Archive:
    """The archive's process.

    Args:
        server: It.
    """

    def __init__(self, server: Server) -> None:
        self.url = f"http://{HOST}:{server.target.port}"
        self._http = httpx.Client(base_url=self.url, trust_env=False)

    def count(self) -> int:
        """How many objects came."""
        return int(self._http.get("/").json()["objects"])

    def wait_for(self, count: int) -> float:
        """Wait for so many objects, and give when the last came, by ``time.monotonic``.

        Raises:
            MeasureError: They do not come.
        """
        end_s = time.monotonic() + 300
        while time.monotonic() < end_s:
            found = self._http.get("/").json()
            if found["objects"] >= count:
                return float(found["last_s"])
            time.sleep(POLL_S)
        raise MeasureError("results did not come")


@contextmanager
def running_archive() -> Iterator[Archive]:
    """Run an archive that forgets."""
    with Server(
        "the archive",
        [sys.executable, "-m", "benchmarks.gateway.archive", "{port}"],
        service_environment({}),
        target_path="/",
        ready_path="/",
        sample=b"",
    ) as server:
        yield Archive(server)


def _medians(rounds: Sequence[Any]) -> Any:
    """Give the median of each figure."""
    if isinstance(rounds[0], dict):
        return {key: _medians([one[key] for one in rounds]) for key in rounds[0]}
    return median(rounds)
