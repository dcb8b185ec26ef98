"""Query parameters, taken literally."""

from __future__ import annotations

from starlette.requests import Request

from service.errors import InvalidRequestError


def verify_query(request: Request, *known: str) -> None:
    """Refuse parameters that would be ignored: a misspelt one would change the answer silently.

    Raises:
        InvalidRequestError: A parameter is unknown, empty, or given twice.
    """
    given = [name for name, _ in request.query_params.multi_items()]
    if set(given) - set(known):
        raise InvalidRequestError(
            f"The query has a parameter that is not known. Known are: {', '.join(known)}."
        )
    for name in known:
        if given.count(name) > 1:
            raise InvalidRequestError(f"The query parameter {name} is given more than once.")
        if request.query_params.get(name) == "":
            raise InvalidRequestError(
                f"The query parameter {name} is empty. Give a name, or leave it out."
            )
