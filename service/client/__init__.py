"""Service client: typed answers, typed errors, retries."""

from __future__ import annotations

from service.client.client import AsyncClient, Client
from service.client.exchange import ImageSource, Retry, ServiceError

__all__ = ["AsyncClient", "Client", "ImageSource", "Retry", "ServiceError"]
