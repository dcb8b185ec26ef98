"""Fixtures of the gateway's tests that these share."""

from tests.gateway.conftest import archive, fake_service

__all__ = ["archive", "fake_service"]
