"""Fixtures of the service's tests, for those that break it."""

from tests.service.conftest import _no_settings, anyio_backend, bundles
from tests.service.test_server import start

__all__ = ["_no_settings", "anyio_backend", "bundles", "start"]
