"""Problems, access and schemas in OpenAPI documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from service.access.scopes import ANY, LOOPBACK_ONLY, Routes
from service.answers import Problem
from service.web.problems import ALL_PROBLEM_TYPES, MEDIA_TYPE, ProblemType

SCHEMAS = "#/components/schemas/"

BEARER, API_KEY = "bearer", "apiKey"
SCHEMES: dict[str, Any] = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a JWT access token of the operator's identity provider.",
    },
    API_KEY: {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}
ACCESS_STATUSES = (401, 403, 429, 503)

METRICS_ROUTE: dict[str, Any] = {
    "summary": "Counts and durations for Prometheus",
    "response_class": Response,
    "responses": {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
}


def schema_of(kind: type[BaseModel]) -> dict[str, str]:
    """Refer to a schema."""
    return {"$ref": SCHEMAS + kind.__name__}


def name_operation(route: APIRoute) -> str:
    """Return an operation id."""
    return route.name


def problem_responses(
    *statuses: int, kinds: Iterable[ProblemType] = ALL_PROBLEM_TYPES
) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses for these statuses."""
    known = sorted(kinds, key=lambda kind: kind.slug)
    return {
        status: _problem_response(status, [kind for kind in known if kind.status == status])
        for status in statuses
    }


def _problem_response(status: int, kinds: list[ProblemType]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {
            MEDIA_TYPE: {
                "schema": schema_of(Problem),
                "examples": {
                    kind.slug: {
                        "value": {
                            "type": kind.type,
                            "title": kind.title,
                            "status": kind.status,
                            "detail": "What was wrong, and what to do.",
                            "request_id": "8f14e45fceea167a",
                        }
                    }
                    for kind in kinds
                },
            }
        },
    }
    if status in (429, 503, 507):
        response["headers"] = {
            "Retry-After": {
                "description": "Seconds after which to try again.",
                "schema": {"type": "integer"},
            }
        }
    return response


def drop_validation_errors(document: dict[str, Any]) -> None:
    """Remove FastAPI's own 422: here it is a 400."""
    for path in document["paths"].values():
        for operation in path.values():
            content = operation["responses"].get("422", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            if schema.get("$ref", "").endswith("/HTTPValidationError"):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def add_schemas(document: dict[str, Any], bodies: Sequence[type[BaseModel]]) -> None:
    """Add schemas that no route has in its types."""
    _, made = models_json_schema(
        [(kind, "validation") for kind in bodies], ref_template=SCHEMAS + "{model}"
    )
    components = document["components"]
    components["schemas"] = dict(sorted((made["$defs"] | components["schemas"]).items()))


def add_access(
    document: dict[str, Any],
    routes: Routes,
    *,
    is_needed: bool,
    other_errors: Mapping[str, type[BaseModel]],
) -> None:
    """Add security schemes, scopes and refusals to a document, in place."""
    document["components"]["securitySchemes"] = SCHEMES
    shown: list[dict[str, list[str]]] = [{BEARER: []}, {API_KEY: []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = routes.get((method.upper(), path), ANY)
            if needed is None:
                operation["security"] = []
                continue
            operation["security"] = shown if is_needed else [{}, *shown]
            words = "any scope" if needed == ANY else f"scope {' or '.join(sorted(needed))}"
            operation["description"] = f"{operation.get('description', '')}\n\nNeeds {words}."
            # Anonymous callers are refused only what is reserved to this machine.
            statuses = ACCESS_STATUSES if is_needed else (403,) if needed == LOOPBACK_ONLY else ()
            for status in statuses:
                operation["responses"].setdefault(str(status), _refusal(status, path, other_errors))


def _refusal(status: int, path: str, other_errors: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    titles = sorted(kind.title for kind in ALL_PROBLEM_TYPES if kind.status == status)
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": schema_of(Problem)}}
    for prefix, body in other_errors.items():
        if path == prefix or path.startswith(prefix + "/"):
            content = {"application/json": {"schema": schema_of(body)}}
    return {"description": "; ".join(titles), "content": content}
