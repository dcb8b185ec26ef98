"""Multipart bodies, written to files on arrival."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from service.gateway.store.spool import Spool, Staged
from service.multipart import RelatedParser, read_boundary

FEW_PARTS, PIECE_BYTES = 16, 2048
"""A chunk with more parts is parsed in pieces: each part is an open file until it is taken."""


class ReceivedParts:
    """The parts of a body; those not taken are deleted at block end."""

    def __init__(self, spool: Spool, content_type: str, max_part_bytes: int) -> None:
        self._spool = spool
        self._open: Staged | None = None
        self._whole: list[Staged] = []
        self._delimiter = b"--" + read_boundary(content_type)
        self._parser = RelatedParser(
            content_type,
            on_begin=self._begin,
            on_data=self._data,
            on_end=self._end,
            max_part_bytes=max_part_bytes,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for staged in self._whole:
            staged.discard()
        if self._open is not None:
            self._open.discard()

    def write(self, chunk: bytes) -> Iterator[Staged]:
        """Parse more and yield completed parts; keep or discard each before the next."""
        is_one = chunk.count(self._delimiter) <= FEW_PARTS
        step = max(1, len(chunk)) if is_one else PIECE_BYTES
        for begin in range(0, len(chunk), step):
            self._parser.write(chunk[begin : begin + step])
            while self._whole:
                yield self._whole.pop(0)

    def finish(self) -> None:
        """End the body."""
        self._parser.finish()

    def _begin(self) -> None:
        self._spool.verify_room()
        self._open = self._spool.stage()

    def _data(self, data: bytes) -> None:
        assert self._open is not None
        self._open.write(data)

    def _end(self) -> None:
        assert self._open is not None
        self._whole.append(self._open)
        self._open = None
