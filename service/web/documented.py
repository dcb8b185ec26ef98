"""Problems in an OpenAPI document, and an application whose document tells what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from service.answers import Problem
from service.web.access_document import document_access
from service.web.problems import ALL_PROBLEM_TYPES, MEDIA_TYPE, ProblemType
from service.web.schemas import add_schemas, name_operation, schema_of


def drop_validation_errors(document: dict[str, Any]) -> None:
    """Take out the 422 that FastAPI documents by itself: here such a request gets 400."""
    for path in document["paths"].values():
        for operation in path.values():
            content = operation["responses"].get("422", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            if schema.get("$ref", "").endswith("/HTTPValidationError"):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


class DocumentedApplication(FastAPI):
    """FastAPI whose OpenAPI document says what is really answered, and who may ask.

    Its state holds ``access`` and ``routes``, the scope each route needs.

    Args:
        bodies: Those that no route has in its types.
        other_errors: Bodies of refusals by path prefix, where they are not problems.
        **options: FastAPI's own.
    """

    def __init__(
        self,
        bodies: Sequence[type[BaseModel]],
        other_errors: Mapping[str, type[BaseModel]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(generate_unique_id_function=name_operation, **options)
        self._bodies = bodies
        self._other_errors = other_errors or {}

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document."""
        if self.openapi_schema is None:
            document, state = super().openapi(), self.state
            drop_validation_errors(document)
            add_schemas(document, self._bodies)
            document_access(
                document,
                state.routes,
                is_needed=not state.access.is_anonymous,
                other_errors=self._other_errors,
            )
        return super().openapi()


def problem_responses(
    *statuses: int, kinds: Iterable[ProblemType] = ALL_PROBLEM_TYPES
) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI responses of the problems with these statuses.

    Args:
        *statuses: HTTP statuses.
        kinds: The problems there are.
    """
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
