"""Names in an OpenAPI document, which generated clients call their types and methods by.

A body that is read or written by hand has a named schema like every other, and an operation is
called as its function is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

SCHEMAS = "#/components/schemas/"


def schema_of(kind: type[BaseModel]) -> dict[str, str]:
    """Refer to the schema of a body, which :func:`add_schemas` must be given."""
    return {"$ref": SCHEMAS + kind.__name__}


def add_schemas(document: dict[str, Any], bodies: Sequence[type[BaseModel]]) -> None:
    """Add the schemas of bodies that no route's types tell of.

    Args:
        document: An OpenAPI document; changed.
        bodies: What :func:`schema_of` refers to in it.
    """
    _, made = models_json_schema(
        [(kind, "validation") for kind in bodies], ref_template=SCHEMAS + "{model}"
    )
    components = document["components"]
    components["schemas"] = dict(sorted((made["$defs"] | components["schemas"]).items()))


def name_operation(route: APIRoute) -> str:
    """Give a route's operation id."""
    return route.name
