"""Archives that hang, and archives that answer with what no reader may swallow whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from benchmarks.siege.arena import Arena, until
from benchmarks.siege.attacked import Attacked
from benchmarks.siege.clients import ask, head
from benchmarks.siege.fakes import Archive, Exchange, Fake, read_all
from benchmarks.siege.made import answers
from benchmarks.siege.made.dicom import ROOT, radiograph
from benchmarks.siege.row import Bars, Row, Sighting
from benchmarks.siege.watch import watching
from benchmarks.siege.watchers import Honest

FAMILY = "archives"
OBJECTS = 12
HEALTHY_S = 10.0
"""Within which a healthy archive has everything, whatever others do."""

PULL_TIMEOUT_S = 8.0
PULLS = 45
ANSWER_BYTES = 3_000_000_000
GZIP_BYTES = 1 << 30
ATTEMPT_S = 30.0
DEPTH = 100_000  # each bracket opened and closed: 200 kB, which is read
USUAL = Bars(memory_mib=64, slow_s=1.0)


def new_objects(count: int) -> list[bytes]:
    """Give small objects, each of a study of its own and new to every gateway."""
    now = time.time_ns()
    uids = [f"{ROOT}.7.{now}.{number}" for number in range(count)]
    return [radiograph(instance=uid, study=f"{uid}.0") for uid in uids]


def attack_hanging(arena: Arena) -> Sighting:
    """Have one of two archives take requests and never answer."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        service, healthy = stack.enter_context(Fake(read_all)), stack.enter_context(Archive())
        hanging = stack.enter_context(Fake(lambda exchange, body: exchange.hang()))
        gateway = stack.enter_context(
            arena.gateway(
                folder,
                service_url=service.url,
                destinations=f"hanging={hanging.url} healthy={healthy.url}",
                delivery_timeout_s="20",
            )
        )
        seen = stack.enter_context(watching(gateway, (Honest("health", gateway.port),), USUAL))
        began_s = time.monotonic()
        objects = new_objects(OBJECTS)
        gateway.send_objects(objects)
        has_all = until(lambda: len(set(healthy.studies)) >= OBJECTS, HEALTHY_S)
        seen.sent_bytes = sum(map(len, objects))
        seen.answers = [f"healthy archive: {len(set(healthy.studies))} of {OBJECTS}"]
        seen.notes.append(f"{time.monotonic() - began_s:.1f} s")
        seen.facts[f"the healthy archive has all within {HEALTHY_S:.0f} s"] = has_all
    return seen


def attack_pulls(arena: Arena) -> Sighting:
    """Ask for many studies of a source that hangs."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        source = stack.enter_context(Fake(lambda exchange, body: exchange.hang()))
        gateway = stack.enter_context(
            arena.gateway(folder, wado_url=source.url, delivery_timeout_s=str(PULL_TIMEOUT_S))
        )
        honest = (Honest("health", gateway.port), Honest("stow", gateway.port))
        seen = stack.enter_context(watching(gateway, honest, USUAL))
        pool = stack.enter_context(ThreadPoolExecutor(PULLS))
        targets = [gateway.at(f"/v1/studies/1.2.{number}:analyze") for number in range(PULLS)]
        asking = [
            pool.submit(ask, one, [head(one, Content_Length="0")], 3 * PULL_TIMEOUT_S)
            for one in targets
        ]
        replies = [one.result() for one in asking]
        seen.sent_bytes = sum(reply.sent_bytes for reply in replies)
        seen.answers = [str(reply) for reply in replies]
        seen.notes.append(f"last answered after {max(r.seconds for r in replies):.0f} s")
        seen.facts["every pull answered"] = all(reply.answer for reply in replies)
    return seen


Behaviour = Callable[[Exchange, bytes], None]


def attack_answer(behave: Behaviour, timeout_s: float = 60) -> Callable[[Arena], Sighting]:
    """Give an attack by an archive's answer to STOW-RS."""

    def attack(arena: Arena) -> Sighting:
        with Fake(behave) as archive, Fake(read_all) as service:
            settings = {"service_url": service.url, "destinations": f"archive={archive.url}"}
            settings["delivery_timeout_s"] = str(timeout_s)
            seen = _answered(arena, settings, lambda job: (job.get("deliveries") or [{}])[0])
            asked = [one.get("accept-encoding", "") for one in archive.headers]
        seen.facts["Accept-Encoding: identity"] = bool(asked) and set(asked) == {"identity"}
        return seen

    return attack


def attack_analysis(behave: Behaviour) -> Callable[[Arena], Sighting]:
    """Give an attack by the answer of whatever answers in the service's place."""

    def attack(arena: Arena) -> Sighting:
        with Fake(behave) as service:
            settings = {"service_url": service.url, "analysis_max_h": "0"}
            return _answered(arena, settings, lambda job: job)

    return attack


def _answered(
    arena: Arena, settings: dict[str, str], part: Callable[[dict[str, Any]], dict[str, Any]]
) -> Sighting:
    """Deliver one object and wait until its job tells of an attempt and its reason."""

    def is_told(gateway: Attacked) -> bool:
        told = [part(job) for job in gateway.jobs()]
        return any(
            one.get("reason") and (one.get("attempts") or one.get("state") == "dead")
            for one in told
        )

    with arena.folder() as folder, arena.gateway(folder, **settings) as gateway:
        with watching(gateway, (Honest("health", gateway.port),), USUAL) as seen:
            gateway.send_objects(new_objects(1))
            seen.facts["an attempt and its reason"] = until(lambda: is_told(gateway), ATTEMPT_S)
        told = [part(job) for job in gateway.jobs()] if gateway.is_alive else []
        seen.answers = [f"{one.get('state')} {one.get('reason')}" for one in told]
    return seen


def attack_pulled(behave: Behaviour) -> Callable[[Arena], Sighting]:
    """Give an attack by the source's answer to WADO-RS."""

    def attack(arena: Arena) -> Sighting:
        with (
            Fake(behave) as source,
            arena.folder() as folder,
            arena.gateway(folder, wado_url=source.url) as gateway,
            watching(gateway, (Honest("health", gateway.port),), USUAL) as seen,
        ):
            target = gateway.at("/v1/studies/1.2.3:analyze")
            reply = ask(target, [head(target, Content_Length="0")], ATTEMPT_S)
            seen.answers = [str(reply)]
            seen.facts["answered"] = reply.answer is not None
            asked = [one.get("accept-encoding", "") for one in source.headers]
            seen.facts["Accept-Encoding: identity"] = bool(asked) and set(asked) == {"identity"}
        return seen

    return attack


def pour_json(exchange: Exchange, body: bytes) -> None:
    """Answer with 3 GB of JSON."""
    exchange.pour(answers.endless_json(ANSWER_BYTES))


def give_brotli(exchange: Exchange, body: bytes) -> None:
    """Answer with 3 kB that are 3 GB."""
    exchange.give(200, answers.brotli_bomb(ANSWER_BYTES), Content_Encoding="br")


def give_brotli_parts(exchange: Exchange, body: bytes) -> None:
    """The same as an answer to WADO-RS."""
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    exchange.give(200, answers.brotli_bomb(ANSWER_BYTES), Content_Encoding="br", Content_Type=kind)


def give_gzip(exchange: Exchange, body: bytes) -> None:
    """Answer with 1 MB that is 1 GB."""
    exchange.give(200, answers.gzip_bomb(GZIP_BYTES), Content_Encoding="gzip")


def trickle(exchange: Exchange, body: bytes) -> None:
    """Answer a byte at a time, each in good time."""
    exchange.trickle(answers.deep_json(500), 0.5)


def give_deep(exchange: Exchange, body: bytes) -> None:
    """Answer with nothing but brackets."""
    exchange.give(200, answers.deep_json(DEPTH))


def give_infinity(exchange: Exchange, body: bytes) -> None:
    """Answer with a number that is none."""
    exchange.give(200, answers.INFINITE_REASON)


ROWS = (
    Row(
        "archive-hangs", FAMILY, "an archive that hangs beside a healthy one", attack_hanging, USUAL
    ),
    Row("hanging-pulls", FAMILY, f"{PULLS} pulls from a source that hangs", attack_pulls, USUAL),
    Row("answer-3gb", FAMILY, "an archive's answer of 3 GB", attack_answer(pour_json), USUAL),
    Row(
        "answer-brotli",
        FAMILY,
        "an archive's answer: 3 kB of brotli",
        attack_answer(give_brotli),
        USUAL,
    ),
    Row(
        "answer-gzip", FAMILY, "an archive's answer: 1 MB of gzip", attack_answer(give_gzip), USUAL
    ),
    Row(
        "answer-deep",
        FAMILY,
        "an archive's answer: 200,000 brackets",
        attack_answer(give_deep),
        USUAL,
    ),
    Row(
        "answer-infinity",
        FAMILY,
        "an archive's answer: Infinity",
        attack_answer(give_infinity),
        USUAL,
    ),
    Row(
        "answer-trickle",
        FAMILY,
        "an archive's answer that trickles",
        attack_answer(trickle, 5),
        USUAL,
    ),
    Row(
        "pull-brotli",
        FAMILY,
        "a study pulled: 3 kB of brotli",
        attack_pulled(give_brotli_parts),
        USUAL,
    ),
    Row("service-3gb", FAMILY, "a service's answer of 3 GB", attack_analysis(pour_json), USUAL),
    Row(
        "service-brotli",
        FAMILY,
        "a service's answer: 3 kB of brotli",
        attack_analysis(give_brotli),
        USUAL,
    ),
)
