"""One run: every part that was asked for, for every model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.ceiling import measure_ceiling
from benchmarks.child import MeasureError
from benchmarks.contest import (
    LimitFigures,
    Way,
    largest_difference,
    measure_limit,
    measure_server,
    ways,
)
from benchmarks.engine import bundle_of, graphs_of
from benchmarks.explain import measure_explain
from benchmarks.files import Files, find_files
from benchmarks.gpu import measure_gpu
from benchmarks.limit import LimitPlan
from benchmarks.machine import describe_machine
from benchmarks.memory import measure_memory
from benchmarks.neighbours import Neighbours
from benchmarks.options import OF_THE_RUN, Options
from benchmarks.overload import overload
from benchmarks.peers.environment import PEERS
from benchmarks.peers.start import start_peer
from benchmarks.processes import measure_processes
from benchmarks.rounds import FULL, SERVICE, Rounds
from benchmarks.server import Server, start_service
from benchmarks.start import measure_starts
from benchmarks.workers import measure_messages
from cxr.bundles.manifest import MANIFEST_NAME
from service.engines.machine import usable_cores

CONCURRENCIES = (1, 8, 32)
SAME_ANSWER = 0.02  # probabilities of the same file; int8 and bf16 differ by less


class Run:
    """Measures one model.

    Args:
        model: Its name.
        options: Of the run.
        files: To send.
    """

    def __init__(self, model: str, options: Options, files: Files) -> None:
        self._model = model
        self._options = options
        self._files = files
        self._bundle = options.bundles / model
        self._sample = files.typical.read_bytes()
        self._rounds = Rounds()
        self.notes: list[str] = []
        self.results: dict[str, Any] = {"notes": self.notes}

    def measure(self) -> None:
        """Measure what was asked for; ``results`` has what is done so far, as JSON.

        Raises:
            MeasureError: The limit or the service cannot be measured.
        """
        parts, results = self._options.parts, self.results
        if parts & {"rounds", "peers", "overload"}:
            way = self._best_way()
            for number in range(self._options.rounds):
                say(f"{self._model}: round {number + 1} of {self._options.rounds}")
                self._round(way)
            results |= self._rounds.as_json(way, CONCURRENCIES)
        if "overload" in parts:
            # Measured anew, so that both sides of the ratio are neighbours in time.
            beside = self._limit(way, self._options.seconds)["per_s"]
            results["overloads"] = self._overloads()
            results["overload"] = ours = results["overloads"][SERVICE]
            results["ratios"]["overload_good"] = ours["good_per_s"] / beside
        which = self._options.bundles, self._model
        settings, seconds = self._options.settings, self._options.seconds
        if "memory" in parts:
            results["memory"] = measure_memory(*which, self._files, settings, seconds)
        if "processes" in parts:
            results["processes"] = measure_processes(*which, self._files.paths, settings, seconds)
        if "explain" in parts:
            if bundle_of(*which).manifest.explain_methods:
                results["explain"] = measure_explain(
                    *which, self._files, settings, seconds, self._options.rounds
                )
            else:
                self.note("None of its heatmaps is offered, so explanations were not measured.")

    def _limit(self, way: Way, seconds: float) -> LimitFigures:
        paths = tuple(map(str, self._files.paths))
        plan = LimitPlan(
            str(self._options.bundles), self._model, paths, way.threads, way.batch, seconds
        )
        return measure_limit(plan, way.processes, self._options.settings)

    def _best_way(self) -> Way:
        rates = {}
        for way in ways(usable_cores()):
            with self._noting(f"limit with {way}"):  # an engine may take single images only
                rates[way] = self._limit(way, min(self._options.seconds, 3.0))["per_s"]
                say(f"{self._model}: limit with {way}: {rates[way]:.1f} images/s")
        if not rates:
            raise MeasureError("the limit cannot be measured")
        return max(rates, key=lambda way: rates[way])

    def _round(self, way: Way) -> None:
        """Measure everybody once, so that what slows the machine slows all."""
        seconds = self._options.seconds
        self._rounds.limits.append(self._limit(way, seconds))
        lone = LimitPlan(
            str(self._options.bundles),
            self._model,
            tuple(map(str, self._files.paths)),
            threads=1,
            batch=1,
            seconds=seconds,
            one_core=False,
        )
        self._rounds.lone.append(measure_limit(lone, 1, self._options.settings))
        with self._service() as server:
            for concurrency in CONCURRENCIES:
                self._record(f"{SERVICE}, {concurrency}", server, concurrency)
        if "peers" in self._options.parts:
            for precision, peer in self._peers():
                name = f"{peer}, {precision}, {FULL}"
                with self._noting(name), self._peer(peer, precision) as server:
                    self._record(name, server, FULL)

    def _record(self, name: str, server: Server, concurrency: int) -> None:
        paths, seconds = self._files.paths, self._options.seconds
        figures = measure_server(server, paths, concurrency, seconds)
        say(f"{self._model}: {name}: {figures['per_s']:.1f} images/s")
        self._rounds.servers.setdefault(name, []).append(figures)
        apart = largest_difference(
            self._rounds.limits[-1]["probabilities"], figures["probabilities"]
        )
        if apart is None or apart > SAME_ANSWER:
            self.note(f"{name} does not answer as the limit does: probabilities differ by {apart}")

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Go on without a peer that cannot be measured, and say so."""
        try:
            yield
        except MeasureError as error:
            self.note(f"{name} was not measured: {error}")

    def note(self, note: str) -> None:
        """Say something now and in the results, once."""
        if note not in self.notes:
            say(note)
            self.notes.append(note)

    def _service(self) -> Server:
        options = self._options
        return start_service(options.bundles, self._model, self._sample, options.settings)

    def _graphs(self) -> dict[str, Any]:
        graphs = graphs_of(self._bundle)
        return graphs | ({"int8": self._options.int8} if self._options.int8 else {})

    def _peers(self) -> list[tuple[str, str]]:
        graphs = self._graphs()
        if "int8" not in graphs:
            self.note("No int8 ONNX in the bundle, so no peer was given one.")
        return [(precision, peer) for precision in graphs for peer in PEERS]

    def _peer(self, peer: str, precision: str) -> Server:
        options = self._options
        return start_peer(
            peer,
            options.cache,
            self._graphs()[precision],
            self._bundle / MANIFEST_NAME,
            self._sample,
            usable_cores(),
            options.peer_capacity,
        )

    def _overloads(self) -> dict[str, Any]:
        results: dict[str, Any] = {}

        def measure(name: str, server: Server) -> None:
            capacity = self._rounds.capacity(name)
            assert capacity is not None  # whoever has none is not overloaded
            results[name] = overload(
                server, self._files.paths, self._files.typical, capacity, self._options.seconds
            )
            say(f"{self._model}: overload, {name}: {results[name]['good_per_s']:.1f} good/s")

        with self._service() as server:
            measure(SERVICE, server)
        if "peers" in self._options.parts:
            for precision, peer in self._peers():
                name = f"{peer}, {precision}"
                if self._rounds.capacity(name) is not None:
                    with self._noting(f"overload, {name}"), self._peer(peer, precision) as server:
                        measure(name, server)
        return results


def say(what: str) -> None:
    """Tell whoever waits how far it is."""
    print(what, file=sys.stderr, flush=True)


def run(options: Options) -> dict[str, Any]:
    """Measure and give the results as JSON; ``is_whole`` says whether nothing had to be left."""
    machine = describe_machine()
    neighbours = Neighbours()
    files = find_files(options.data, options.cache / "phantoms")
    results: dict[str, Any] = {
        "machine": machine,
        "options": {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "settings": options.settings,
            "peer_capacity": options.peer_capacity,
            "parts": sorted(options.parts),
        },
        "files": {
            "kind": files.kind,
            "count": len(files.paths),
            "mean_kib": files.mean_bytes / 1024,
        },
        "models": {},
        "notes": [],
        "is_whole": True,
    }
    if "generator" in options.parts:
        results["generator"] = measure_ceiling(files.paths, options.seconds)
        say(f"load generator alone: {results['generator']['per_s']:.0f} requests/s")
    for model in options.models if options.parts - OF_THE_RUN else ():
        one = Run(model, options, files)
        results["models"][model] = one.results
        with _keeping(results, one.notes):
            one.measure()
    if "start" in options.parts:
        with _keeping(results, results["notes"]):
            results["start"] = measure_starts(
                options.bundles, files.typical.read_bytes(), options.settings, options.rounds
            )
    if "workers" in options.parts:
        results["workers"] = measure_messages(options.seconds)
    if "gpu" in options.parts:
        results["gpu"] = measure_gpu(options, files)
    results["neighbour_cores"] = neighbours.cores()
    return results


@contextmanager
def _keeping(results: dict[str, Any], notes: list[str]) -> Iterator[None]:
    """Keep what was measured until something could not be, and say so."""
    try:
        yield
    except MeasureError as error:
        notes.append(f"Stopped: {error}")
        say(notes[-1])
        results["is_whole"] = False
