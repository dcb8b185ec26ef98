"""Routes that are asked often: documented by FastAPI, and answered without its machinery."""

from __future__ import annotations

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class PlainRoute(APIRoute):
    """A route whose function takes the request first, and the query's parameters by name.

    Without a query nothing has to be validated, and the function is called at once.
    """

    def takes(self, scope: Scope) -> bool:
        """Return whether a request for its path needs nothing validated."""
        return not scope["query_string"] and scope["method"] in (self.methods or ())

    async def answer_plain(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer such a request."""
        scope["route"] = self
        response: Response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
