"""Those who watch a server under attack, in a process of their own.

``python -m benchmarks.siege.watchers`` with a plan. One asks ``/health/live`` every 20 ms, over a
connection of its own each time, as a kubelet does. Others are honest clients: each sends one
request after another and notes which were not answered, and how long each took. They run until
told to stop.
"""

from __future__ import annotations

import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.child import read_plan, say, wait_for_go
from benchmarks.connection import Target
from benchmarks.siege.clients import fetch, post
from benchmarks.siege.stow import related

LIVE_EVERY_S = 0.02
LIVE_TIMEOUT_S = 5.0
PAUSE_S = 0.05
HONEST_TIMEOUT_S = 20.0
AE_TITLE = "CXRGATEWAY"
OK = 200


@dataclass(frozen=True)
class Honest:
    """What an honest client does.

    Attributes:
        kind: ``predict``, ``stow``, ``health`` or ``echo``.
        port: Of the server; of DIMSE for ``echo``.
        key: API key it shows; empty for none.
        ca: PEM file of the authority it trusts, for ``echo`` over TLS; empty without TLS.
    """

    kind: str
    port: int
    key: str = ""
    ca: str = ""


@dataclass
class Probes:
    """What was seen of ``/health/live``."""

    worst_ms: float = 0.0
    late_ms: float = 0.0
    asked: int = 0
    failed: int = 0


@dataclass
class Asked:
    """What an honest client saw: how long each answer took, and how often there was none."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def probe(target: Target, over: threading.Event, seen: Probes) -> None:
    """Ask for the liveness again and again."""
    due_s = time.monotonic()
    while not over.wait(max(0.0, due_s - time.monotonic())):
        seen.late_ms = max(seen.late_ms, 1000 * (time.monotonic() - due_s))
        reply = fetch(target, LIVE_TIMEOUT_S)
        seen.asked += 1
        seen.failed += reply.status != OK
        seen.worst_ms = max(seen.worst_ms, 1000 * reply.seconds)
        due_s = max(due_s + LIVE_EVERY_S, time.monotonic())


def be_honest(once: Callable[[int], str], over: threading.Event, seen: Asked) -> None:
    """Ask one request after another. ``once`` gives why it failed; empty if it did not."""
    number = 0
    while not over.wait(PAUSE_S):
        began_s = time.monotonic()
        failure = once(number)
        if failure:
            seen.failed.append(failure)
        else:
            seen.seconds.append(time.monotonic() - began_s)
        number += 1


def asker(honest: Honest) -> Callable[[int], str]:
    """Give what asks once."""
    if honest.kind == "echo":
        return _echo(honest)
    keys = {"X_API_Key": honest.key} if honest.key else {}
    if honest.kind == "health":
        health = Target("127.0.0.1", honest.port, "/health")
        return lambda number: _failure(fetch(health, HONEST_TIMEOUT_S, **keys))
    if honest.kind == "stow":
        from benchmarks.siege.made.dicom import ROOT, radiograph

        studies = Target("127.0.0.1", honest.port, "/dicomweb/studies")

        def stow(number: int) -> str:
            # New to the gateway each time, whichever client sends it.
            instance = f"{ROOT}.8.{time.time_ns()}"
            kind, body = related([radiograph(instance=instance, study=f"{instance}.0")])
            return _failure(post(studies, body, HONEST_TIMEOUT_S, Content_Type=kind, **keys))

        return stow
    from benchmarks.siege.made.pictures import sound_jpeg

    predict = Target("127.0.0.1", honest.port, "/v1/predict")
    picture = sound_jpeg()
    return lambda number: _failure(post(predict, picture, HONEST_TIMEOUT_S, **keys))


def _failure(reply: Any) -> str:
    return "" if reply.status == OK else str(reply)


def _echo(honest: Honest) -> Callable[[int], str]:
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

    entity = AE("HONEST")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = HONEST_TIMEOUT_S
    entity.connection_timeout = HONEST_TIMEOUT_S
    entity.add_requested_context(Verification)
    tls = None
    if honest.ca:
        tls = (ssl.create_default_context(cafile=honest.ca), "127.0.0.1")

    def echo(number: int) -> str:
        association = entity.associate("127.0.0.1", honest.port, ae_title=AE_TITLE, tls_args=tls)
        if not association.is_established:
            return "no association"
        status = association.send_c_echo()
        association.release()
        return "" if status and status.Status == 0 else "no echo"

    return echo


def main() -> None:
    """Watch as planned until told to stop, then tell what was seen."""
    plan = read_plan()
    over = threading.Event()
    probes, asked = Probes(), [Asked() for _ in plan["honest"]]
    askers = [asker(Honest(**one)) for one in plan["honest"]]
    wait_for_go()
    live = Target("127.0.0.1", plan["port"], "/health/live")
    threads = [threading.Thread(target=probe, args=(live, over, probes))] if plan["live"] else []
    threads += [
        threading.Thread(target=be_honest, args=(once, over, seen))
        for once, seen in zip(askers, asked, strict=True)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    over.set()
    for thread in threads:
        thread.join()
    say({"probes": asdict(probes), "honest": [asdict(one) for one in asked]})


if __name__ == "__main__":
    main()
