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
from benchmarks.contestants import Contestants
from benchmarks.engine import bundle_of
from benchmarks.explain import measure_explain
from benchmarks.files import Files, find_files
from benchmarks.gpu import measure_gpu
from benchmarks.limit import LimitPlan
from benchmarks.machine import describe_machine
from benchmarks.memory import measure_memory
from benchmarks.neighbours import Neighbours
from benchmarks.options import IN_ROUNDS, OF_THE_RUN, Options
from benchmarks.overload import overload
from benchmarks.processes import measure_processes
from benchmarks.rounds import BUSY, CONCURRENCIES, FULL, SERVICE, Rounds
from benchmarks.server import Server
from benchmarks.start import measure_starts
from benchmarks.workers import measure_messages
from service.engines.machine import usable_cores

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
        self._rounds = Rounds()
        self._contestants = Contestants(model, options, files.typical.read_bytes())
        self.notes: list[str] = []
        self.results: dict[str, Any] = {"notes": self.notes}

    def measure(self) -> None:
        """Measure what was asked for; ``results`` has what is done so far, as JSON.

        Raises:
            MeasureError: The limit or the service cannot be measured.
        """
        parts, results = self._options.parts, self.results
        if parts & IN_ROUNDS:
            self._measure_rounds()
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

    def _measure_rounds(self) -> None:
        """Measure everybody in turns, so that what slows the machine slows all."""
        parts = self._options.parts
        if parts & {"mosec", "peers"} and not self._contestants.has_int8:
            self.note("No int8 ONNX in the bundle, so no peer was given one.")
        way = self._best_way()
        measures = (self._round, self._overload) if "overload" in parts else (self._round,)
        for measure in measures:
            for number in range(self._options.rounds):
                say(f"{self._model}: round {number + 1} of {self._options.rounds}")
                measure(way)
            self.results |= self._rounds.as_json(way)

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
        for name in self._contestants.names:
            with self._noting(name), self._contestants.start(name) as server:
                for concurrency in CONCURRENCIES if name == SERVICE else (BUSY, FULL):
                    self._record(f"{name}, {concurrency}", server, concurrency)

    def _overload(self, way: Way) -> None:
        files, seconds = self._files, self._options.seconds
        self._rounds.limits_beside.append(self._limit(way, seconds))
        for name in self._contestants.names:
            if (capacity := self._rounds.capacity(name)) is None:
                continue
            with self._noting(name), self._contestants.start(name) as server:
                figures = overload(server, files.paths, files.typical, capacity, seconds)
                say(f"{self._model}: overload, {name}: {figures['good_per_s']:.1f} good/s")
                self._rounds.overloads.setdefault(name, []).append(figures)

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
        """Go on without what cannot be measured, and say so; the service must be."""
        try:
            yield
        except MeasureError as error:
            if name == SERVICE:
                raise
            self.note(f"{name} was not measured: {error}")

    def note(self, note: str) -> None:
        """Say something now and in the results, once."""
        if note not in self.notes:
            say(note)
            self.notes.append(note)


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
