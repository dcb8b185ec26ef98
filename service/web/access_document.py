"""What the OpenAPI document says of keys, tokens and scopes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from service.access.scopes import ANY, LOOPBACK_ONLY, Routes
from service.answers import Problem
from service.web.problems import ALL_PROBLEM_TYPES, MEDIA_TYPE
from service.web.schemas import schema_of

BEARER, API_KEY = "bearer", "apiKey"

SCHEMES: dict[str, Any] = {
    BEARER: {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a JWT access token of the operator's identity provider.",
    },
    API_KEY: {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}

STATUSES = (401, 403, 429, 503)


def document_access(
    document: dict[str, Any],
    routes: Routes,
    *,
    is_needed: bool,
    other_errors: Mapping[str, type[BaseModel]],
) -> None:
    """Add security schemes, each operation's scopes and the problems of who lacks them.

    Args:
        document: An OpenAPI document; changed.
        routes: What each route needs.
        is_needed: Whether credentials are needed here; if not they are documented as optional.
        other_errors: Bodies of refusals by path prefix, where they are not problems.
    """
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
            # Nobody without a name is refused, but for what only callers on this machine may do.
            for status in STATUSES if is_needed else (403,) if needed == LOOPBACK_ONLY else ():
                operation["responses"].setdefault(str(status), _refusal(status, path, other_errors))


def _refusal(status: int, path: str, other_errors: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    titles = sorted(kind.title for kind in ALL_PROBLEM_TYPES if kind.status == status)
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": schema_of(Problem)}}
    for prefix, body in other_errors.items():
        if path == prefix or path.startswith(prefix + "/"):
            content = {"application/json": {"schema": schema_of(body)}}
    return {"description": "; ".join(titles), "content": content}
