"""Requests that abuse HTTP itself, before anything of a file is looked at."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, repeat

from benchmarks.connection import HEAD_END, Target, parse_answer
from benchmarks.siege.arena import KEY, Arena, honest_predictions, write_keys
from benchmarks.siege.attacked import Attacked
from benchmarks.siege.clients import (
    RECEIVED_AT_ONCE,
    SOURCES,
    Reply,
    allow_files,
    ask,
    closing_s,
    connect,
    converse,
    head,
    is_closed,
)
from benchmarks.siege.made import dicom, pictures
from benchmarks.siege.measure import Cost, wait_idle
from benchmarks.siege.row import MIB, Bars, Row, Sighting
from benchmarks.siege.stow import related
from benchmarks.siege.watch import add, watching
from benchmarks.siege.watchers import OK, Honest

FAMILY = "HTTP"
TRAILER = b"a:b\r\n"  # the shorter, the more of them, and each costs an object
TRAILER_BYTES = 150_000_000
CONNECTIONS = 8
DECLARED_BYTES = 64 * MIB
SENT_OF_DECLARED = 140
DECLARING_S, DECLARING_TRIES = 0.15, 10
SLOWEST_S = 20.0
"""After which a body that does not come must have been given up: the deadline of 10 s, and some."""

REFUSED_S = 30.0
"""After which the connection of a refused body must be closed, however it trickles."""

TRICKLE_S = 0.5
SILENT = 1500
PIPELINED_BYTES, PIPELINED_S = 100 * MIB, 8.0
SETTINGS = "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"
"""HTTP2-Settings as Java's client sends them."""

TRAILERS = Bars(cpu_s=0.3, memory_mib=32)
USUAL = Bars(memory_mib=32)


def trailers() -> Iterator[bytes]:
    """Give a chunked body of one byte, and trailers without end."""
    yield b"1\r\na\r\n0\r\n"
    piece = TRAILER * (MIB // len(TRAILER))
    for _ in range(TRAILER_BYTES // len(piece)):
        yield piece


def attack_trailers(arena: Arena) -> Sighting:
    """Send trailers to a service that asks for keys."""
    with arena.folder() as folder:
        keys = {"access": "keys", "api_keys_file": str(write_keys(folder))}
        with arena.service(folder, **keys) as server:
            return _trailers(server, server.target, honest_predictions(server, KEY))


def attack_gateway_trailers(arena: Arena) -> Sighting:
    """Send trailers to a gateway that asks for keys."""
    with arena.folder() as folder:
        keys = {"access": "keys", "api_keys_file": str(write_keys(folder))}
        with arena.gateway(folder, **keys) as gateway:
            honest = (Honest("stow", gateway.port, KEY),)
            return _trailers(gateway, gateway.at("/dicomweb/studies"), honest)


def _trailers(server: Attacked, target: Target, honest: tuple[Honest, ...]) -> Sighting:
    with Cost(server.pid) as cost:
        replies = [_send_trailers(target, "")]
        wait_idle(server.pid, 10.0)
    with watching(server, honest, TRAILERS) as seen:
        replies += [_send_trailers(target, ""), _send_trailers(target, KEY)]
        add(seen, replies)
    seen.cpu_s, seen.is_alone = cost.cpu_s, True
    seen.memory_bytes = max(cost.memory_bytes, seen.memory_bytes or 0)
    seen.facts["cut off"] = all(reply.sent_bytes < TRAILER_BYTES / 2 for reply in replies)
    return seen


def _send_trailers(target: Target, key: str) -> Reply:
    """Send them all, whatever is answered meanwhile, until the server closes."""
    told = {"Transfer_Encoding": "chunked", "Content_Type": "application/dicom"}
    shown = {"X_API_Key": key} if key else {}
    opening = head(target, **(told | shown))
    return ask(target, chain([opening], trailers()), 25.0, to_the_end=True)


def attack_declared(arena: Arena) -> Sighting:
    """Declare bodies, send next to nothing of them, and wait."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        server = stack.enter_context(arena.service(folder))
        seen = stack.enter_context(watching(server, honest_predictions(server), USUAL))
        pool = stack.enter_context(ThreadPoolExecutor(CONNECTIONS))
        wires = [stack.enter_context(_declare(server.target)) for _ in range(CONNECTIONS)]
        nothing: Iterator[bytes] = iter(())
        replies = list(pool.map(lambda wire: converse(wire, nothing, SLOWEST_S), wires))
        add(seen, replies)
        seen.sent_bytes = SENT_OF_DECLARED
        given_up = [reply.answer is not None or reply.ending == "closed" for reply in replies]
        seen.facts[f"all given up within {SLOWEST_S:.0f} s"] = all(given_up)
    return seen


def _declare(target: Target) -> socket.socket:
    """Open a connection whose body is waited for; one that is refused is tried again."""
    told = {"Content_Length": str(DECLARED_BYTES), "Content_Type": "image/jpeg"}
    for _ in range(DECLARING_TRIES):
        wire = connect(target)
        begun = head(target, **told) + pictures.sound_jpeg()[:SENT_OF_DECLARED]
        if converse(wire, iter([begun]), DECLARING_S).ending == "silent":
            return wire
        wire.close()
    return connect(target)


def attack_silent(arena: Arena) -> Sighting:
    """Open many connections and say nothing."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        server = stack.enter_context(arena.service(folder))
        seen = stack.enter_context(watching(server, honest_predictions(server), USUAL))
        allow_files(2 * SILENT)
        sources = [SOURCES[number % len(SOURCES)] for number in range(SILENT)]
        opened = [_try_connect(server.target, source) for source in sources]
        wires = [stack.enter_context(wire) for wire in opened if wire is not None]
        closed = [end for end in closing_s(wires, SLOWEST_S) if end is not None]
        seen.answers = [f"{len(closed)} of {len(wires)} closed"]
        seen.notes.append(f"last closed after {max(closed, default=SLOWEST_S):.0f} s")
        seen.facts[f"all closed within {SLOWEST_S:.0f} s"] = len(closed) == len(wires)
    return seen


def _try_connect(target: Target, source: str) -> socket.socket | None:
    try:
        return connect(target, source)
    except OSError:  # the backlog is full, or it was refused: so much the better for the server
        return None


def attack_pipelined(arena: Arena) -> Sighting:
    """Send requests one behind another for some seconds, without waiting for an answer."""
    with (
        arena.folder() as folder,
        arena.service(folder) as server,
        watching(server, honest_predictions(server), USUAL) as seen,
    ):
        request = head(server.at("/health/live"), "GET")
        pieces = repeat(request * (MIB // len(request)), PIPELINED_BYTES // MIB)
        reply = ask(server.target, pieces, PIPELINED_S, to_the_end=True)
        seen.sent_bytes, seen.answers = reply.sent_bytes, [str(reply)]
    return seen


def attack_upgrade(arena: Arena) -> Sighting:
    """Send a body with a request for HTTP/2, to the service and to the gateway."""
    picture = pictures.sound_jpeg()
    with arena.folder() as folder, arena.gateway(folder) as gateway:
        kind, body = related([dicom.radiograph()])
        stored = _upgrade(gateway, "/dicomweb/studies", body, kind)
    with (
        arena.folder() as folder,
        arena.service(folder) as server,
        watching(server, honest_predictions(server), USUAL) as seen,
    ):
        read = _upgrade(server, "/v1/predict", picture, "image/jpeg")
        hidden = head(server.at("/v1/models"), "GET")
        answers = _upgrade(server, "/v1/predict", hidden, "application/octet-stream")
        seen.sent_bytes = len(picture)
        seen.answers = [", ".join(map(str, one)) for one in (stored, read, answers)]
        seen.facts["the gateway's body read"] = stored == [OK]
        seen.facts["the service's body read"] = read == [OK]
        seen.facts["no second request in a body"] = len(answers) == 1
    return seen


def _upgrade(server: Attacked, path: str, body: bytes, kind: str) -> list[int]:
    """Send one request for an upgrade, and give the statuses of all that is answered."""
    target = server.at(path)
    opening = head(
        target,
        Content_Length=str(len(body)),
        Content_Type=kind,
        Connection="Upgrade, HTTP2-Settings",
        Upgrade="h2c",
        HTTP2_Settings=SETTINGS,
    )
    received = bytearray()
    with connect(target) as wire:
        wire.settimeout(3.0)
        try:
            # In two parts, as Java's client does: the body comes when the head is read already.
            wire.sendall(opening)
            time.sleep(0.1)
            wire.sendall(body)
            while data := wire.recv(RECEIVED_AT_ONCE):
                received += data
        except OSError:
            pass
    statuses = []
    while received and (answer := parse_answer(received)) is not None:
        statuses.append(answer.status)
        del received[: len(answer.head) + len(HEAD_END) - 2 + len(answer.body)]
    return statuses


REFUSALS: tuple[tuple[str, str, dict[str, str], int], ...] = (
    ("without a key", "/v1/predict", {}, DECLARED_BYTES),
    ("too large", "/v1/predict", {"X_API_Key": KEY}, 100 * DECLARED_BYTES),
    ("of no route", "/nowhere", {"X_API_Key": KEY}, 1000),
)
"""Why each body is refused before it is read: to which path, with which headers, how long."""


def attack_trickle(arena: Arena) -> Sighting:
    """Go on sending a body that was refused, a byte at a time, without leaving."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        keys = {"access": "keys", "api_keys_file": str(write_keys(folder))}
        server = stack.enter_context(arena.service(folder, **keys))
        seen = stack.enter_context(watching(server, honest_predictions(server, KEY), USUAL))
        held: dict[str, socket.socket] = {}
        for name, path, headers, length in REFUSALS:
            target = server.at(path)
            held[name] = stack.enter_context(connect(target))
            told = {"Content_Length": str(length), "Content_Type": "image/jpeg"}
            opening = head(target, **(told | headers))
            add(seen, [converse(held[name], iter([opening]), 10.0)])
        began_s = time.monotonic()
        while held and time.monotonic() - began_s < REFUSED_S:
            time.sleep(TRICKLE_S)
            for name, wire in list(held.items()):
                if is_closed(wire) or not _takes_more(wire):
                    del held[name]
                    seen.notes.append(f"{name}: closed after {time.monotonic() - began_s:.0f} s")
        for name, *_ in REFUSALS:
            seen.facts[f"{name}: closed within {REFUSED_S:.0f} s"] = name not in held
    return seen


def _takes_more(wire: socket.socket) -> bool:
    try:
        wire.send(b"a")
    except OSError:
        return False
    return True


ROWS = (
    Row("trailers", FAMILY, "150 MB of trailers, without a key", attack_trailers, TRAILERS),
    Row(
        "gateway-trailers", FAMILY, "the gateway: 150 MB of trailers, without a key",
        attack_gateway_trailers, TRAILERS,
    ),
    Row(
        "declared-bodies", FAMILY, "8 connections declare 64 MiB and send 140 bytes",
        attack_declared, USUAL,
    ),
    Row("http-silent", FAMILY, f"{SILENT} silent connections", attack_silent, USUAL),
    Row("pipelined", FAMILY, "requests without end behind one another", attack_pipelined, USUAL),
    Row("h2c-upgrade", FAMILY, "Upgrade: h2c with a body", attack_upgrade, USUAL),
    Row("trickle", FAMILY, "bodies that trickle after their refusal", attack_trickle, USUAL),
)  # fmt: skip
