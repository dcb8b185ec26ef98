"""The model behind LitServe: one worker process per core, raw bytes in, its faster queue.

LitServe bounds no queue; a counter in front of it refuses beyond the same capacity as the
other peer has, and requests that waited too long are dropped by its own timeout.
"""

# No `from __future__ import annotations`: LitServe hands the annotation itself to FastAPI.

from typing import Annotated, Any

import litserve
from fastapi import Body

from benchmarks.peers.model import PeerModel, setting

REFUSAL = [(b"content-type", b"application/json"), (b"content-length", b"2")]


class Bound:
    """Refuses requests with 429 while too many are in hand."""

    def __init__(self, app: Any, capacity: int) -> None:
        self._app = app
        self._capacity = capacity
        self._active = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._active >= self._capacity:
            await send({"type": "http.response.start", "status": 429, "headers": REFUSAL})
            await send({"type": "http.response.body", "body": b"{}"})
            return
        self._active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._active -= 1


class Radiograph(litserve.LitAPI):
    """Decodes, resizes and runs one file at a time."""

    def setup(self, device: str) -> None:
        """Load the model in a worker process."""
        self._model = PeerModel()

    def decode_request(self, request: Annotated[bytes, Body()]) -> bytes:
        """Keep the bytes of the file."""
        return request

    def predict(self, x: bytes) -> dict[str, float]:
        """Answer for one file."""
        return self._model.predict(x)

    def encode_response(self, output: dict[str, float]) -> dict[str, float]:
        """Answer with JSON."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Radiograph(),
        accelerator="cpu",
        workers_per_device=int(setting("WORKERS")),
        timeout=float(setting("TIMEOUT_S")),
        fast_queue=True,
        middlewares=[(Bound, {"capacity": int(setting("CAPACITY"))})],
    )
    server.run(
        host="127.0.0.1",
        port=int(setting("PORT")),
        num_api_servers=1,
        log_level="error",
        generate_client_file=False,
    )
