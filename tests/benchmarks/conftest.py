"""Fixtures of the benchmarks' tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The load generator runs on asyncio."""
    return "asyncio"
