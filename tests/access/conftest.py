"""Fixtures: the service's own, and an application that asks for keys."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.access.scopes import SCOPES
from service.commands.keys import build_key
from tests.service.conftest import (
    anyio_backend,
    bundles,
    engine,
    make_settings,
)
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, running

__all__ = ["anyio_backend", "bundles", "engine"]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here not even those that let everyone in."""
    for name in [name for name in os.environ if name.startswith("CXR_")]:
        monkeypatch.delenv(name)


@dataclass
class Keys:
    """A file of keys, one for each scope and some more, with the keys themselves."""

    path: Path
    keys: dict[str, str]

    def bearer(self, name: str) -> dict[str, str]:
        """Give the header that shows a key."""
        return {"Authorization": f"Bearer {self.keys[name]}"}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Keys called as their scope, and ``slow``, which may ask once."""
    made = {scope: build_key(scope, [scope]) for scope in SCOPES}
    made["slow"] = build_key("slow", ["predict"], None, 0.01)
    made["slow"][1]["burst"] = 1
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [entry for _, entry in made.values()]}))
    return Keys(path, {name: key for name, (key, _) in made.items()})


@pytest.fixture
async def guarded(bundles: Path, engine: FakeEngine, keys: Keys) -> AsyncIterator[Running]:
    """The application, ready, that asks for keys."""
    settings = make_settings(bundles, access="keys", api_keys_file=str(keys.path))
    async with running(settings, engine.build) as ready:
        engine.forget()
        yield ready


def verify_refused(response: httpx.Response, status: int, slug: str) -> None:
    """Check that a response is a problem of that kind."""
    assert (response.status_code, response.json().get("type")) == (status, f"/docs/problems#{slug}")
