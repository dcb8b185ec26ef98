"""An identity provider's signing keys (RFC 7517), cached."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from service.errors import AccessUnavailableError
from service.telemetry.logs import log_event

FRESH_S = 300.0  # then refreshed in the background
STALE_S = 86_400.0  # then no longer trusted
PAUSE_S = 10.0  # least time between fetches: anybody can invent unknown key ids
TIMEOUT_S = 3.0  # of a whole fetch, as requests wait for it
LARGEST_BYTES = 1024 * 1024
MOST_KEYS = 100

Fetch = Callable[[], Awaitable[dict[str, Any]]]


def build_fetch(issuer: str, jwks_url: str) -> Fetch:
    """Return the key-fetching function; without a URL, it uses discovery.

    Source: OpenID Connect Discovery 1.0, 4.
    """

    async def fetch() -> dict[str, Any]:
        # Proxies and CAs of the environment apply, except for plain HTTP on loopback.
        is_secure = (jwks_url or issuer).startswith("https:")
        async with (
            asyncio.timeout(TIMEOUT_S),  # httpx's own timeout is per read
            httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=is_secure) as client,
        ):
            url = jwks_url
            if not url:
                place = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
                document = await _get(client, place)
                url = str(document["jwks_uri"])
                if document.get("issuer") != issuer or (is_secure and url[:6] != "https:"):
                    raise ValueError("the discovery document is not the issuer's")
            return await _get(client, url)

    return fetch


async def _get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    # Uncompressed: a compressed document may be any number of times its size.
    async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
        if response.status_code != 200 or "content-encoding" in response.headers:
            raise ValueError("no document, or a compressed one")
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > LARGEST_BYTES:
                raise ValueError("the document is too large")
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("the document is no object")
    return found


class KeySet:
    """Public keys by key id. Event loop only."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str | None, dict[str, Any]] | None = None
        self._fetched_s = 0.0
        self._tried_s = -PAUSE_S
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None) -> dict[str, Any] | None:
        """Return a key, None if unknown; the id None selects the only key.

        Raises:
            AccessUnavailableError: Keys can neither be fetched nor are cached.
        """
        known = self._known(key_id)
        if known is None:
            await self._refresh()
            known = self._known(key_id)
        elif self._clock() - self._fetched_s > FRESH_S:
            self._begin()
        if known is None and self._age_s > STALE_S:
            raise AccessUnavailableError(
                "The keys of the identity provider are unavailable. Try again later.",
                int(PAUSE_S),
            )
        return known

    @property
    def _age_s(self) -> float:
        return self._clock() - self._fetched_s if self._keys is not None else float("inf")

    def _known(self, key_id: str | None) -> dict[str, Any] | None:
        if self._keys is None or self._age_s > STALE_S:
            return None
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _begin(self) -> asyncio.Task[None] | None:
        if self._fetching is None and self._clock() - self._tried_s >= PAUSE_S:
            self._tried_s = self._clock()
            self._fetching = asyncio.create_task(self._take())
        return self._fetching

    async def _refresh(self) -> None:
        if (task := self._begin()) is not None:
            await asyncio.shield(task)

    async def _take(self) -> None:
        try:
            self._keys = _read_set(await self._fetch())
            self._fetched_s = self._clock()
        except Exception as error:  # the cached keys remain in use
            log_event(logging.WARNING, "identity provider's keys not fetched", error)
        finally:
            self._fetching = None


def _read_set(document: dict[str, Any]) -> dict[str | None, dict[str, Any]]:
    keys = [
        key
        for key in document["keys"][:MOST_KEYS]
        if key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"
    ]
    if not keys:
        raise ValueError("the set holds no key for signatures")
    return {key.get("kid"): key for key in keys}
