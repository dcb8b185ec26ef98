"""Models by name and version."""

from __future__ import annotations

from starlette.requests import Request

from service.errors import InvalidRequestError
from service.http.context import runtime_of
from service.models.models import ServedModel


def find_model(request: Request, name: str, version: str | None) -> ServedModel:
    """Give a loaded model.

    Raises:
        NotReadyError: Starting or draining.
        UnknownModelError: None of that name, or not of that version, is loaded.
    """
    return runtime_of(request).models.find(name, version).model


def verify_no_query(request: Request) -> None:
    """Refuse query parameters, which would be ignored.

    Raises:
        InvalidRequestError: There are some.
    """
    if request.query_params:
        raise InvalidRequestError(
            "There are no query parameters here. The operating point is given in the body, as "
            "parameters.operating_point."
        )
