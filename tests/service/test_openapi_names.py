"""The names in the OpenAPI documents: what generated clients call their types and methods."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.access.access import Access
from service.app.application import build_app
from service.engines.registry import build_engine
from service.gateway.gateway import Gateway
from service.gateway.http.application import build_gateway_app
from service.gateway.settings import GatewaySettings
from service.models.runtime import Runtime
from service.settings import Settings

OPERATIONS = {
    "service": {
        *("predict", "explain", "render", "list_models", "describe_model"),
        *("load_model", "unload_model", "roll_back_model", "health", "live", "ready", "metrics"),
        *("server_metadata", "server_live", "server_ready", "repository_index"),
        *("model_metadata", "version_metadata", "model_ready", "version_ready"),
        *("infer", "infer_version"),
    },
    "gateway": {
        *("store", "store_study", "analyze_study", "list_jobs", "show_job", "retry_job"),
        *("health", "live", "ready", "metrics"),
    },
}
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@pytest.fixture(params=["service", "gateway"])
def named(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Both documents, each with its name."""
    if request.param == "service":
        app = build_app(Runtime(Settings.model_construct(), build_engine), access=Access())
    else:
        gateway = Gateway(
            GatewaySettings(spool_dir=str(tmp_path), destinations="pacs=http://127.0.0.1:9")
        )
        app = build_gateway_app(gateway, Access(), lambda error: None)
    return request.param, app.openapi()


def walk(value: object, *where: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Give every object of a document and where it is; examples are no part of it."""
    if isinstance(value, dict):
        yield where, value
    parts = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type,var-annotated]
    for key, part in parts:
        if isinstance(part, dict | list) and key not in ("example", "examples"):
            yield from walk(part, *where, str(key))


def test_operations_have_plain_names(named: tuple[str, dict[str, Any]]) -> None:
    """Each a name of its own that a method may have."""
    name, document = named
    every = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert sorted(every) == sorted(OPERATIONS[name])
    assert not [one for one in every if keyword.iskeyword(one)]


def test_schemas_have_plain_names(named: tuple[str, dict[str, Any]]) -> None:
    """None made of a path, none twice as -Input and -Output."""
    for schema in named[1]["components"]["schemas"]:
        assert re.fullmatch(r"([A-Z][a-z0-9]*)+", schema), schema


def test_objects_are_schemas_with_names(named: tuple[str, dict[str, Any]]) -> None:
    """An object in the middle of another gets a name that nobody chose; a map needs none."""
    for where, schema in walk(named[1]):
        if "properties" in schema and where[-2:-1] != ("properties",):
            assert where[:-1] == ("components", "schemas"), where


def test_references_lead_somewhere(named: tuple[str, dict[str, Any]]) -> None:
    """Every schema that is named is there, and every one that is there is used."""
    schemas = set(named[1]["components"]["schemas"])
    used = {one["$ref"] for _, one in walk(named[1]) if isinstance(one.get("$ref"), str)}
    assert used == {f"#/components/schemas/{schema}" for schema in schemas}


def test_values_can_be_members_of_an_enumeration(named: tuple[str, dict[str, Any]]) -> None:
    """A plus sign would be lost, and gradcam++ and gradcam be one member."""
    for where, schema in walk(named[1]):
        for value in schema.get("enum", ()):
            assert WORD.fullmatch(value), (where, value)


def test_bodies_are_of_types_that_generators_know(named: tuple[str, dict[str, Any]]) -> None:
    """They warn of any other and leave it out, but STOW-RS has no other."""
    known = {"application/json", "multipart/form-data", "application/octet-stream"}
    for path, operations in named[1]["paths"].items():
        for operation in operations.values():
            types = set(operation.get("requestBody", {}).get("content", ()))
            assert types <= known or path.startswith("/dicomweb/"), path
