"""Fixtures of the gateway's tests that these share."""

from tests.gateway.conftest import fake_service

__all__ = ["fake_service"]
