"""The gateway on a disk that is full, and when its clock is set."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.gateway.errors import LeaseLostError
from tests.gateway.conftest import Box, archive, box, fake_service, start_gateway
from tests.gateway.fakes import FakeArchive
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess, until
from tests.gateway.test_gateway import c_store, stow

__all__ = ["archive", "box", "fake_service", "start_gateway"]

Start = Callable[..., GatewayProcess]

YEAR_S = 366 * 86_400.0
SUCCESS = 0x0000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB where gateways of this test have their spool."""
    folder = tmp_path / "spool"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_disk_full_in_the_middle(
    small_disk: Path, start_gateway: Start, archive: FakeArchive
) -> None:
    """Every sender is told; what was accepted arrives; with room again all goes on by itself."""
    gateway = start_gateway(min_free_bytes=0)
    accepted = 0

    def send(number: int) -> bool:
        data = make_object(f"1.2.{number}", side=200)
        if number % 2:
            return c_store(gateway, data) == [SUCCESS]
        answer = stow(gateway, data)
        assert answer.status_code in {200, 409, 507}, answer.text
        return answer.status_code == 200

    accepted += sum(send(number) for number in range(4))
    assert accepted == 4
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    told = [send(number) for number in range(4, 12)]
    assert not all(told)
    assert httpx.get(f"{gateway.url}/health/ready").status_code == 200
    filler.unlink()
    accepted += sum(told) + sum(send(number) for number in range(12, 16))
    assert accepted == 8 + sum(told)
    until(lambda: {job["state"] for job in gateway.jobs()} == {"done"})
    assert len(gateway.jobs()) == accepted
    # A report and an overlay each; twice where it could not be noted that they had arrived.
    assert len(archive.counts) == 2 * accepted
    assert gateway.stop() == 0


@pytest.mark.parametrize("what", ["put off", "leased"])
def test_clock_that_goes_back_holds_up_no_work(
    box: Box, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What was put off or leased by a clock a year ahead is free again when it is set right."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + YEAR_S)
    box.receive(make_object())
    job = box.inbox.lease()
    assert job is not None
    if what == "put off":
        box.inbox.postpone(job, "service-unreachable", 60.0)
    assert box.inbox.lease() is None
    monkeypatch.setattr(time, "time", real)
    assert box.inbox.lease() is not None


def test_clock_that_goes_forward_doubles_no_work(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that seems over may be taken by another; only one of both settles the work."""
    real = time.time
    box.receive(make_object())
    first = box.inbox.lease()
    monkeypatch.setattr(time, "time", lambda: real() + YEAR_S)
    second = box.inbox.lease()
    assert first is not None
    assert second is not None
    box.inbox.postpone(second, "service-unreachable", 0.0)
    with pytest.raises(LeaseLostError):
        box.inbox.postpone(first, "service-unreachable", 0.0)
