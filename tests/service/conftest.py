"""Fixtures of the service's tests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.engines.registry import build_engine
from service.settings import Settings
from tests.conftest import Once
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, running
from tests.service.make_bundle import MAX_PIXELS, make_bundle


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have CXR_* variables; processes of tests let everyone in."""
    for name in [name for name in os.environ if name.startswith("CXR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CXR_ACCESS", "anonymous")


@pytest.fixture(scope="session")
def bundles(once: Once) -> Path:
    """A folder with two bundles, cnn and resnet18. Not to be changed."""

    def make(folder: Path) -> None:
        for name in ("cnn", "resnet18"):
            make_bundle(folder, name)

    return once("service-bundles", make)


def make_settings(bundles: Path, **changes: Any) -> Settings:
    """Make settings with small limits."""
    values: dict[str, Any] = {
        "bundles_dir": str(bundles),
        "access": "anonymous",
        "models": "resnet18",
        "provider": "cpu",
        "engine": "onnxruntime",
        "workers": 1,
        "isolation": "threads",  # fake engines are of this process
        "max_batch": 4,
        "queue_capacity": 8,
        "max_images_per_request": 6,
        "max_image_pixels": MAX_PIXELS,
        "max_body_bytes": 1_000_000,
        "max_buffered_bytes": 2_000_000,
    }
    return Settings(**values | changes)


@pytest.fixture
def settings(bundles: Path) -> Settings:
    """Small limits and one model."""
    return make_settings(bundles)


@pytest.fixture
def engine() -> FakeEngine:
    """The engine under ``service``."""
    return FakeEngine()


@pytest.fixture
async def service(settings: Settings, engine: FakeEngine) -> AsyncIterator[Running]:
    """The application, ready, on the fake engine."""
    async with running(settings, engine.build) as ready:
        engine.forget()
        yield ready
        engine.gate.set()  # whatever a test left waiting must not hold up the end


@pytest.fixture
async def real_service(bundles: Path) -> AsyncIterator[Running]:
    """The application, ready, with both models on ONNX Runtime."""
    async with running(make_settings(bundles, models=""), build_engine) as ready:
        yield ready
