"""What decides who may ask, while it trickles or is no file; and memory that ends."""

from __future__ import annotations

import base64
import json
import os
import resource
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.process import tree_of
from benchmarks.siege.arena import KEY, Arena, honest_predictions, write_keys
from benchmarks.siege.clients import post
from benchmarks.siege.fakes import Fake
from benchmarks.siege.made import pictures
from benchmarks.siege.measure import address_space_of
from benchmarks.siege.row import MIB, REFUSALS, Bars, Row, Sighting
from benchmarks.siege.watch import add, watching
from benchmarks.siege.watchers import OK

FAMILY = "access"
TRICKLE_S = 0.5
ANSWERED_S = 11.0
"""Within which a caller is answered: the deadline of a request, and some."""

START_S = 20.0
USUAL = Bars(memory_mib=64)
FULL = Bars(memory_mib=None, lost=1_000_000, live_ms=1000, statuses=("413", "429", *REFUSALS))
"""A server without memory may refuse everybody for a moment, but with the right words."""

SPARE_BYTES = 24 * MIB
SIDE = 7900


def attack_jwks(arena: Arena) -> Sighting:
    """Have the identity provider send its keys a byte at a time."""
    keys = json.dumps({"keys": [{"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"}] * 20})
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        provider = stack.enter_context(
            Fake(lambda exchange, body: exchange.trickle(keys.encode(), TRICKLE_S))
        )
        server = stack.enter_context(
            arena.service(
                folder,
                access="keys+oidc",
                api_keys_file=str(write_keys(folder)),
                oidc_issuer=provider.url,
                oidc_audience="cxr",
                oidc_jwks_url=f"{provider.url}/keys",
            )
        )
        seen = stack.enter_context(watching(server, honest_predictions(server, KEY), USUAL))
        bearer = f"Bearer {token(provider.url)}"
        reply = post(server.target, pictures.sound_jpeg(), 30.0, Authorization=bearer)
        add(seen, [reply])
        seen.notes.append(f"answered after {reply.seconds:.1f} s")
        is_told = reply.answer is not None and reply.seconds <= ANSWERED_S
        seen.facts[f"answered within {ANSWERED_S:.0f} s"] = is_told
    return seen


def token(issuer: str) -> str:
    """Give what looks like a token, signed by nobody."""
    now = int(time.time())
    claims = {"iss": issuer, "aud": "cxr", "sub": "siege", "nbf": now - 60, "exp": now + 600}
    parts = ({"alg": "RS256", "typ": "JWT", "kid": "k"}, claims, "no signature")
    coded = [base64.urlsafe_b64encode(json.dumps(one).encode()) for one in parts]
    return b".".join(one.rstrip(b"=") for one in coded).decode()


def attack_fifo(arena: Arena) -> Sighting:
    """Turn the file of keys into a FIFO that nobody writes to."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        keys = write_keys(folder)
        server = stack.enter_context(arena.service(folder, access="keys", api_keys_file=str(keys)))
        seen = stack.enter_context(watching(server, honest_predictions(server, KEY), USUAL))
        os.mkfifo(folder / "fifo")
        (folder / "fifo").rename(keys)
        time.sleep(5.0)
        # What blocks on it goes on, or the server could not be ended in peace.
        _let_go(keys)
        told = [line["event"] for line in server.events() if "keys file" in line.get("event", "")]
        seen.answers = sorted(set(told)) or ["nothing told"]
        seen.facts["told in the log"] = bool(told)
    return seen


def _let_go(fifo: Path) -> None:
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # nobody reads it
        return


def attack_fifo_start(arena: Arena) -> Sighting:
    """Start with a FIFO for the file of keys."""
    seen = Sighting()
    with arena.folder() as folder:
        keys = folder / "keys.json"
        os.mkfifo(keys)
        began_s = time.monotonic()
        seen.answers = [arena.starts_not(folder, START_S, access="keys", api_keys_file=str(keys))]
        seen.notes.append(f"{time.monotonic() - began_s:.1f} s")
        seen.facts["refused at start, with the reason"] = "api_keys_file" in seen.answers[0].lower()
    return seen


def attack_memory(arena: Arena) -> Sighting:
    """Send a picture at the limit of pixels to a service that has no memory for it."""
    picture = pictures.flat_png(SIDE, pictures.GREY, 8)
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        server = stack.enter_context(arena.service(folder))
        seen = stack.enter_context(watching(server, honest_predictions(server), FULL))
        _, most = resource.prlimit(server.pid, resource.RLIMIT_AS)
        for pid in tree_of(server.pid):
            tight = address_space_of(pid) + SPARE_BYTES
            resource.prlimit(pid, resource.RLIMIT_AS, (tight, most))
        try:
            replies = [post(server.target, picture, 20.0) for _ in range(3)]
        finally:
            for pid in tree_of(server.pid) if server.is_alive else ():
                resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        add(seen, replies)
        well = post(server.target, pictures.sound_jpeg(), 10.0)
        seen.facts["well afterwards"] = well.status == OK
    return seen


ROWS = (
    Row("jwks-trickle", FAMILY, "a key set that trickles", attack_jwks, USUAL),
    Row("keys-fifo", FAMILY, "a keys file that becomes a FIFO", attack_fifo, USUAL),
    Row("keys-fifo-start", FAMILY, "a start with a FIFO for a keys file", attack_fifo_start, USUAL),
    Row("no-memory", FAMILY, "a picture for which there is no memory", attack_memory, FULL),
)
