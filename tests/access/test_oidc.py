"""Tokens of an identity provider, which is a server on loopback here."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import logging
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("jwt", reason="the extra oidc is not installed")

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.access import jwks
from service.access.jwks import FRESH_S, PAUSE_S, STALE_S, KeySet, build_fetch
from service.access.tokens import ALGORITHMS, TokenValidator
from service.errors import AccessUnavailableError
from tests.access.test_keys import Clock

pytestmark = pytest.mark.anyio

AUDIENCE = "cxr"


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio."""
    return "asyncio"


class Provider:
    """An identity provider on loopback: discovery, keys, tokens."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"first": rsa.generate_private_key(65537, 2048)}
        self.asked = 0
        self.is_away = False
        self.told_issuer = ""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += self.path == "/keys"
                if provider.is_away:
                    self.send_error(503)
                    return
                body = json.dumps(provider.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, path: str) -> dict[str, Any]:
        """Give a document."""
        if path == "/keys":
            return {"keys": [public_jwk(name, key) for name, key in self.keys.items()]}
        issuer = self.told_issuer or self.issuer
        return {"issuer": issuer, "jwks_uri": f"{self.issuer}/keys"}

    def token(
        self, key: str = "first", algorithm: str = "RS256", key_id: str | None = "", **claims: Any
    ) -> str:
        """Sign a token; a claim or a key id of None is left out."""
        given = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "client-1",
            "exp": time.time() + 60,
            "scope": "predict",
        } | claims
        kept = {name: value for name, value in given.items() if value is not None}
        headers = {} if key_id is None else {"kid": key_id or key}
        return jwt.encode(kept, self.keys[key], algorithm, headers=headers)

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def public_jwk(name: str, key: Any) -> dict[str, Any]:
    """Give the public half of a key."""
    algorithm: Any = (
        jwt.algorithms.RSAAlgorithm
        if isinstance(key, rsa.RSAPrivateKey)
        else jwt.algorithms.ECAlgorithm
    )
    return {"kid": name, "use": "sig", **json.loads(algorithm.to_jwk(key.public_key()))}


@pytest.fixture
def provider() -> Iterator[Provider]:
    """One that answers."""
    one = Provider()
    yield one
    one.close()


@pytest.fixture
def clock() -> Clock:
    """Of the key set; tokens go by the real one."""
    return Clock()


@pytest.fixture
def make_tokens(provider: Provider, clock: Clock) -> Callable[..., TokenValidator]:
    """Make what tells who shows a token."""

    def make(**changes: Any) -> TokenValidator:
        given = {
            "issuer": provider.issuer,
            "audience": AUDIENCE,
            "algorithms": ("RS256", "ES256"),
            "leeway_s": 5.0,
        } | changes
        return TokenValidator(KeySet(build_fetch(provider.issuer, ""), clock), **given)

    return make


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "predict openid explain"}, {"predict", "explain"}),
        ({"scope": None, "scp": ["jobs", 1]}, {"jobs"}),
        ({"scope": None, "scp": "metrics"}, {"metrics"}),
        ({"scope": None}, set()),
        ({"aud": ["other", AUDIENCE]}, {"predict"}),
    ],
    ids=["scope", "scp list", "scp text", "none", "one of several audiences"],
)
async def test_token_tells_subject_and_scopes(
    provider: Provider,
    make_tokens: Callable[..., TokenValidator],
    claims: dict[str, Any],
    scopes: set[str],
) -> None:
    """Scopes that are none of ours are left out."""
    caller = await make_tokens().find(provider.token(**claims))
    assert caller is not None
    assert (caller.name, caller.by, caller.scopes) == ("client-1", "oidc", scopes)


async def test_scopes_may_have_a_prefix(
    provider: Provider, make_tokens: Callable[..., TokenValidator]
) -> None:
    """Then those without it are others'."""
    tokens = make_tokens(scope_prefix="cxr.")
    caller = await tokens.find(provider.token(scope="cxr.predict explain"))
    assert caller is not None
    assert caller.scopes == {"predict"}


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "http://elsewhere"},
        {"aud": "other"},
        {"aud": None},
        {"sub": None},
        {"exp": None},
        {"exp": 1_000_000_000},
        {"nbf": 4_000_000_000},
    ],
    ids=lambda claims: "-".join(map(str, next(iter(claims.items())))),
)
async def test_token_for_others_is_nobodys(
    provider: Provider, make_tokens: Callable[..., TokenValidator], claims: dict[str, Any]
) -> None:
    """Another issuer or audience, no subject, no end, over, not yet."""
    assert await make_tokens().find(provider.token(**claims)) is None


async def test_clocks_may_differ_a_little(
    provider: Provider, make_tokens: Callable[..., TokenValidator]
) -> None:
    """By the leeway and no more."""
    tokens = make_tokens()
    assert await tokens.find(provider.token(exp=time.time() - 2)) is not None
    assert await tokens.find(provider.token(exp=time.time() - 9)) is None


async def test_signature_of_another_key_is_refused(
    provider: Provider, make_tokens: Callable[..., TokenValidator]
) -> None:
    """Also under the id of a known one, or with claims changed afterwards."""
    tokens = make_tokens()
    real = provider.keys["first"]
    provider.keys["first"] = rsa.generate_private_key(65537, 2048)
    forged = provider.token()
    provider.keys["first"] = real
    assert await tokens.find(forged) is None
    head, _, signature = provider.token().split(".")
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "x"}).encode()).decode().rstrip("=")
    assert await tokens.find(f"{head}.{claims}.{signature}") is None


async def test_unsigned_and_symmetric_tokens_are_refused(
    provider: Provider, make_tokens: Callable[..., TokenValidator]
) -> None:
    """Also one signed by HMAC with the public key as its secret, even if somebody allowed it."""
    tokens = make_tokens(algorithms=("RS256", "HS256", "none"))
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    assert await tokens.find(jwt.encode(claims, None, "none", headers={"kid": "first"})) is None
    pem = (
        provider.keys["first"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    parts = [json.dumps(one).encode() for one in ({"alg": "HS256", "kid": "first"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = base64.urlsafe_b64encode(hmac.digest(pem, signed, hashlib.sha256)).rstrip(b"=")
    assert await tokens.find(b".".join((signed, mac)).decode()) is None
    assert not {"none", "HS256", "HS384", "HS512"} & ALGORITHMS


@pytest.mark.parametrize("token", ["", "..", "a.b.c", "x" * 20_000 + "..", "\u00e9.\u00e9.\u00e9"])
async def test_what_is_no_token_is_nobodys(
    provider: Provider, make_tokens: Callable[..., TokenValidator], token: str
) -> None:
    """And nobody is asked for keys because of it."""
    assert await make_tokens().find(token) is None
    assert provider.asked == 0


async def test_other_algorithm_than_the_keys_is_refused(
    provider: Provider, make_tokens: Callable[..., TokenValidator]
) -> None:
    """ES256 is allowed, but not PS256, which the same key could sign."""
    provider.keys["curve"] = ec.generate_private_key(ec.SECP256R1())
    tokens = make_tokens()
    assert await tokens.find(provider.token("curve", "ES256")) is not None
    assert await tokens.find(provider.token("first", "PS256")) is None


@pytest.mark.parametrize("is_named", [True, False], ids=["named key", "nameless key"])
async def test_token_without_key_id_takes_the_only_key(
    provider: Provider,
    make_tokens: Callable[..., TokenValidator],
    monkeypatch: pytest.MonkeyPatch,
    is_named: bool,
) -> None:
    """A provider with one key need not name it in its tokens (RFC 7515, 4.1.4)."""
    if not is_named:
        [key] = provider.answer("/keys")["keys"]
        nameless = {name: value for name, value in key.items() if name != "kid"}
        found = {"keys": [nameless]}
        answer = provider.answer
        monkeypatch.setattr(
            provider, "answer", lambda path: found if path == "/keys" else answer(path)
        )
    caller = await make_tokens().find(provider.token(key_id=None))
    assert caller is not None
    assert caller.name == "client-1"


async def test_token_without_key_id_is_ambiguous_between_keys(
    provider: Provider, make_tokens: Callable[..., TokenValidator]
) -> None:
    """No key is tried for it, also not the one that signed."""
    provider.keys["second"] = ec.generate_private_key(ec.SECP256R1())
    assert await make_tokens().find(provider.token(key_id=None)) is None
    assert await make_tokens().find(provider.token()) is not None


async def test_keys_are_fetched_once(
    provider: Provider, make_tokens: Callable[..., TokenValidator]
) -> None:
    """And serve all tokens after."""
    tokens = make_tokens()
    for _ in range(5):
        assert await tokens.find(provider.token()) is not None
    assert provider.asked == 1


async def test_new_key_is_found_and_inventions_are_not_asked_for(
    provider: Provider, make_tokens: Callable[..., TokenValidator], clock: Clock
) -> None:
    """An unknown id fetches anew, at most once per pause: ids are free to invent."""
    tokens = make_tokens()
    assert await tokens.find(provider.token()) is not None
    provider.keys["second"] = ec.generate_private_key(ec.SECP256R1())
    rotated = provider.token("second", "ES256")
    for _ in range(20):
        assert await tokens.find(rotated) is None
    assert provider.asked == 1
    clock.now_s += PAUSE_S
    assert await tokens.find(rotated) is not None
    assert provider.asked == 2


async def test_withdrawn_key_no_longer_counts(
    provider: Provider, make_tokens: Callable[..., TokenValidator], clock: Clock
) -> None:
    """Once the set has been fetched anew, which happens beside a request."""
    tokens = make_tokens()
    old = provider.token()
    assert await tokens.find(old) is not None
    provider.keys = {"second": ec.generate_private_key(ec.SECP256R1())}
    clock.now_s += FRESH_S + 1
    assert await tokens.find(old) is not None
    fetching = tokens._keys._fetching
    assert fetching is not None
    await fetching
    assert await tokens.find(old) is None


async def test_provider_that_is_away_fails_closed(
    provider: Provider, make_tokens: Callable[..., TokenValidator], clock: Clock
) -> None:
    """Without keys of before nobody is let in; keys of before count for a day."""
    provider.is_away = True
    tokens = make_tokens()
    with pytest.raises(AccessUnavailableError):
        await tokens.find(provider.token())
    provider.is_away = False
    clock.now_s += PAUSE_S
    assert await tokens.find(provider.token()) is not None
    provider.is_away = True
    clock.now_s += STALE_S - 10
    assert await tokens.find(provider.token()) is not None
    clock.now_s += 20
    with pytest.raises(AccessUnavailableError):
        await tokens.find(provider.token())


async def test_discovery_of_another_issuer_is_not_believed(
    provider: Provider, make_tokens: Callable[..., TokenValidator], caplog: pytest.LogCaptureFixture
) -> None:
    """OpenID Connect Discovery 1.0, 4.3."""
    provider.told_issuer = "http://elsewhere"
    with caplog.at_level(logging.WARNING), pytest.raises(AccessUnavailableError):
        await make_tokens().find(provider.token())
    assert "identity provider's keys not fetched" in caplog.messages


class Trickle:
    """An identity provider that sends one answer, whatever it is asked, in its own way."""

    def __init__(self, head: bytes, piece: bytes = b"", pause_s: float = 0.0) -> None:
        self._head, self._piece, self._pause_s = head, piece, pause_s
        self.sent_bytes = 0
        self.gone = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the other one goes away."""
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            writer.write(self._head)
            while self._piece:
                writer.write(self._piece)
                await writer.drain()
                self.sent_bytes += len(self._piece)
                await asyncio.sleep(self._pause_s)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.gone.set()


OK = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(bytes(20_000_000))
HOSTILE = {
    "trickles its head": Trickle(OK, b"A: b\r\n", 0.01),
    "trickles its body": Trickle(OK + b"\r\n{", b" ", 0.01),
    "says nothing": Trickle(b"", b"", 0.0),
    "sends without end": Trickle(OK + b"\r\n", b" " * 100_000),
    "compresses": Trickle(
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB
    ),
    "nests": Trickle(OK + b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000),
    "leads elsewhere": Trickle(OK[:9] + b"302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    "has no keys": Trickle(OK + b'Content-Length: 11\r\n\r\n{"keys": 1}'),
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_hostile_provider_is_given_up(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the time for a whole fetch, with little of it held."""
    monkeypatch.setattr(jwks, "TIMEOUT_S", 0.2)
    provider = HOSTILE[how]
    server = await asyncio.start_server(provider.answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    keys = KeySet(build_fetch(url, url))
    tracemalloc.start()
    async with server, asyncio.timeout(10):
        with pytest.raises(AccessUnavailableError):
            await keys.find("k")
        await provider.gone.wait()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    assert provider.sent_bytes < 20_000_000
