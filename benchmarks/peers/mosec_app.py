"""The model behind mosec: one worker process per core, raw bytes in, queue bounded."""

from __future__ import annotations

import json
from typing import Any

from mosec import Server, Worker

from benchmarks.peers.model import PeerModel, setting


class Radiograph(Worker):
    """Decodes, resizes and runs one file at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._model = PeerModel()

    def deserialize(self, data: bytes) -> bytes:
        """Keep the bytes of the file."""
        return data

    def serialize(self, data: Any) -> bytes:
        """Give JSON without the indentation of the default."""
        return json.dumps(data).encode()

    def forward(self, data: bytes) -> dict[str, float]:
        """Answer for one file."""
        return self._model.predict(data)


if __name__ == "__main__":
    server = Server()  # capacity, timeout, address and port are its own arguments
    server.append_worker(Radiograph, num=int(setting("WORKERS")), max_batch_size=1)
    server.run()
