"""The message path, to a real worker."""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory

import pytest

from benchmarks import workers


def test_each_size_goes_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a socket pair and through a shared block, which is gone afterwards."""
    made: list[str] = []

    class Block(SharedMemory):
        def __init__(self, **options: int) -> None:
            super().__init__(create=True, size=options["size"])
            made.append(self.name)

    monkeypatch.setattr(workers, "SIZES", (1000, 300_000))
    monkeypatch.setattr(workers, "SharedMemory", Block)
    figures = workers.measure_messages(0.0)
    assert [one["size_bytes"] for one in figures] == [1000, 300_000]
    assert all(one["socket_us"] > 0 and one["shared_us"] > 0 for one in figures)
    with pytest.raises(FileNotFoundError):
        SharedMemory(made[0])
