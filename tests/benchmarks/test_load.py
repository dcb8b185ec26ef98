"""The load generator counts what it was answered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from benchmarks.connection import Connection, Target, build_request
from benchmarks.load import CLOSED, OPEN, Generator, Plan, measure
from benchmarks.null import ANSWER, NullProtocol
from benchmarks.tally import DROPPED, OK, TIMED_OUT, Record
from tests.benchmarks.tiny_server import DROP, SILENCE, TinyServer, reply, tiny_server

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("waits")]

FILES = 3


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """Three files, told apart by their content; one larger than a socket's buffer."""
    paths = []
    for number in range(FILES):
        path = tmp_path / f"{number}.jpeg"
        path.write_bytes(bytes([number]) * (1, 100, 300_000)[number])
        paths.append(str(path))
    return tuple(paths)


def plan_for(server: TinyServer, files: tuple[str, ...], **choices: Any) -> Plan:
    target = server.target
    return Plan(target.host, target.port, target.path, files, **{"warm_up": 0, **choices})


async def send_each(plan: Plan, count: int) -> list[Record]:
    generator = Generator(plan)
    records = [
        await generator.send(i % FILES, perf_counter(), perf_counter()) for i in range(count)
    ]
    generator.pool.close()
    return records


async def test_sends_each_file_whole_on_one_connection(files: tuple[str, ...]) -> None:
    """The bodies arrive as they are, and one connection serves all."""
    async with tiny_server(lambda n, body: reply(200)) as server:
        generator = Generator(plan_for(server, files))
        for number in range(FILES):
            record = await generator.send(number, perf_counter(), perf_counter())
            assert (record.status, record.file, record.tries) == (OK, number, 1)
        generator.pool.close()
        assert server.bodies == [Path(path).read_bytes() for path in files]
        assert generator.pool.opened == 1


async def test_every_kind_of_end_is_told_apart(files: tuple[str, ...]) -> None:
    """Refused, failed, dropped and timed out are statuses of their own."""
    given: list[bytes | str] = [reply(200), reply(429), reply(500), DROP, SILENCE, reply(200)]
    async with tiny_server(lambda n, body: given[n]) as server:
        records = await send_each(plan_for(server, files, timeout_s=0.3), len(given))
    assert [r.status for r in records] == [200, 429, 500, DROPPED, TIMED_OUT, 200]


async def test_nobody_listening_is_dropped(files: tuple[str, ...]) -> None:
    """A refused connection is an end like another."""
    async with tiny_server(lambda n, body: reply(200)) as server:
        plan = plan_for(server, files)
    assert [record.status for record in await send_each(plan, 1)] == [DROPPED]


async def test_retries_after_a_refusal_as_long_as_it_asks(files: tuple[str, ...]) -> None:
    """Retry-After is honoured when told so, and the tries are counted."""

    def answer(number: int, body: bytes) -> bytes:
        return reply(429, Retry_After="0") if number < 2 else reply(200)

    async with tiny_server(answer) as server:
        plan = plan_for(server, files, tries=3, honour_retry_after=True)
        (record,) = await send_each(plan, 1)
    assert (record.status, record.tries) == (OK, 3)


async def test_gives_up_if_the_wait_is_longer_than_the_patience(files: tuple[str, ...]) -> None:
    """A Retry-After beyond the timeout is the refusal it is."""
    async with tiny_server(lambda n, body: reply(429, Retry_After="60")) as server:
        plan = plan_for(server, files, tries=3, honour_retry_after=True, timeout_s=5.0)
        (record,) = await send_each(plan, 1)
    assert (record.status, record.tries) == (429, 1)


@pytest.mark.parametrize("mode", [CLOSED, OPEN])
async def test_a_whole_plan_accounts_for_every_request(files: tuple[str, ...], mode: str) -> None:
    """What the server received is what the phases record, probes and warm-up included."""

    async def go() -> None:
        received.append(len(server.bodies))

    received: list[int] = []
    async with tiny_server(lambda n, body: reply(200, b'{"probability": 0.5}')) as server:
        plan = plan_for(
            server,
            files,
            mode=mode,
            seconds=0.1,
            concurrency=2,
            rate=100.0,
            warm_up=4,
            probe_before_s=0.02,
            probe_after_s=0.02,
            probe_file=1,
        )
        result = await measure(plan, go)
        phases = result["phases"]
        assert received == [4]
        assert sum(map(len, phases.values())) == len(server.bodies) - 4
        assert {record.file for record in phases["before"] + phases["after"]} == {1}
        assert all(record.status == OK for record in phases["during"])
        assert len(phases["during"]) > 2
        assert result["answers"][1] == '{"probability": 0.5}'


@pytest.mark.parametrize("asked", ["0", "60"])
async def test_refused_clients_of_a_closed_loop_wait(files: tuple[str, ...], asked: str) -> None:
    """Two clients told to wait a minute send once each; told not to wait, again and again."""
    async with tiny_server(lambda n, body: reply(429, Retry_After=asked)) as server:
        generator = Generator(plan_for(server, files[:1]))
        records = await generator.closed_loop(0.3, 2)
        generator.pool.close()
    assert {record.status for record in records} == {429}
    assert (len(records) == 2) is (asked == "60")


async def test_answers_in_pieces_are_put_together() -> None:
    """An answer that arrives in two parts, and a chunked one, are whole answers."""
    connection = Connection()
    connection.connection_made(_Sink())
    for parts in (
        [b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 4\r\n\r\nab", b"cd"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"0\r\n\r\n"],
    ):
        for part in parts:
            connection.data_received(part)
        answer = await connection.answer()
        assert (answer.status, b"ab" in answer.body) == (200, True)


async def test_an_early_answer_outlives_its_connection() -> None:
    """A server may refuse and hang up before all was sent; the refusal is still read."""
    connection = Connection()
    connection.connection_made(_Sink())
    connection.data_received(reply(429, Connection="close"))
    connection.connection_lost(None)
    assert (await connection.answer()).status == 429
    with pytest.raises(ConnectionResetError):
        await connection.answer()


async def test_the_null_server_answers_once_per_request() -> None:
    """Requests split anywhere get one answer each."""
    sink, server = _Sink(), NullProtocol()
    server.connection_made(sink)
    request = build_request(Target("127.0.0.1", 1), b"x" * 50)
    for number, cut in enumerate((1, 40, len(request) - 1)):
        server.data_received(request[:cut])
        assert sink.written == [ANSWER] * number
        server.data_received(request[cut:])
        assert sink.written == [ANSWER] * (number + 1)


class _Sink(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        pass
