"""Every route of service and gateway says who may ask."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest
from fastapi import APIRouter

import service.gateway.http
import service.http
from service.access.scopes import GATEWAY_ROUTES, SERVICE_ROUTES, Routes

SHARED = {("GET", "/openapi.json")}
MOUNTS = {("GET", "/page/{path:path}"), ("GET", "/docs-assets/{path:path}")}


def routes_under(package: ModuleType) -> set[tuple[str, str]]:
    """Find the routes of all routers in a package, whoever includes them."""
    found = set()
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        for router in vars(importlib.import_module(module.name)).values():
            if isinstance(router, APIRouter):
                for route in router.routes:
                    found |= {(method, route.path) for method in route.methods}  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("package", "table", "beside"),
    [
        (service.http, SERVICE_ROUTES, SHARED | MOUNTS),
        (service.gateway.http, GATEWAY_ROUTES, SHARED),
    ],
    ids=["service", "gateway"],
)
def test_table_and_routes_agree(
    package: ModuleType, table: Routes, beside: set[tuple[str, str]]
) -> None:
    """A route without a row would be for any key; a row without a route is a typing error."""
    found = routes_under(package)
    assert len(found) > 8
    assert found - set(table) == set()
    assert set(table) - found == beside
