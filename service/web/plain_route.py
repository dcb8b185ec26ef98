"""Routes that are asked often: documented by FastAPI, and answered without its machinery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response
from starlette.types import Receive, Scope, Send


class PlainRoute(APIRoute):
    """A route whose function takes the request first, and the query's parameters by name.

    Without a query nothing has to be validated, and the function is called at once.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def answer(request: Request) -> Response:
            response: Response = await endpoint(request)
            return response

        self._plain = request_response(answer)

    def takes(self, scope: Scope) -> bool:
        """Return whether a request for its path needs nothing validated."""
        return not scope["query_string"] and scope["method"] in (self.methods or ())

    async def answer_plain(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer such a request."""
        _, found = self.matches(scope)
        scope.update(found)
        await self._plain(scope, receive, send)
