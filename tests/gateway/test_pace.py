"""The gateway asks as much as the service takes, and no more."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from service.client.exchange import Retry
from service.gateway.signals import Signals
from service.gateway.work import pace
from service.gateway.work.analysis import UNREACHABLE
from service.gateway.work.loop import GiveUp, TryAgain
from service.gateway.work.pace import Pace, PacedAnalysis

pytestmark = pytest.mark.xdist_group("waits")

MADE = [b"report"]


def busy(status: int, **headers: str) -> TryAgain:
    """Give a refusal as it comes from the service."""
    return TryAgain("service-busy", httpx.Response(status, headers=headers))


class Service:
    """Takes so many objects at a time, and refuses more."""

    def __init__(self, room: int, seconds: float = 0.01) -> None:
        self._room = room
        self._seconds = seconds
        self._lock = threading.Lock()
        self._inside = 0
        self.most = 0
        self.refused = 0

    def analyse(self, data: bytes) -> list[bytes] | TryAgain | GiveUp:
        """Analyse, or refuse."""
        with self._lock:
            if self._inside >= self._room:
                self.refused += 1
                return busy(429)
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(self._seconds)
        with self._lock:
            self._inside -= 1
        return MADE


class Scripted:
    """Gives answers in turn, the last again and again."""

    def __init__(self, *answers: list[bytes] | TryAgain | GiveUp) -> None:
        self._answers = list(answers)
        self.asked = 0

    def analyse(self, data: bytes) -> list[bytes] | TryAgain | GiveUp:
        """Give the next answer."""
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for real."""
    monkeypatch.setattr(pace, "PAUSE", Retry(attempts=31, base_s=0.001, longest_s=0.01))


def paced(service: Service | Scripted, most: int = 8, patience_s: float = 20.0) -> PacedAnalysis:
    """Give the analysis at its pace."""
    return PacedAnalysis(service, Signals(), most=most, patience_s=patience_s)


def test_a_busy_service_refuses_little_and_nothing_is_put_off() -> None:
    """Eight workers on a service with room for two: each object is analysed where it is held."""
    service = Service(room=2)
    analysis = paced(service)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(analysis.analyse, [b"object"] * 200))
    assert answers == [MADE] * 200
    assert service.most == 2
    assert service.refused < 150  # a fixed eight would be refused six times for every two


def test_pace_recovers() -> None:
    """After refusals one at a time; as many as allowed once they have ended."""
    turns = Pace(4)
    for _ in range(10):
        turns.learn(is_refused=True)
    assert turns.limit == 1.0
    for _ in range(20):
        turns.learn(is_refused=False)
    assert turns.limit == 4.0


@pytest.mark.parametrize("refusal", [busy(429), busy(503), TryAgain(UNREACHABLE)])
def test_what_is_the_services_is_tried_in_place(refusal: TryAgain) -> None:
    """Busy, restarting or away: the object waits where it is."""
    service = Scripted(refusal, refusal, MADE)
    assert paced(service).analyse(b"object") == MADE
    assert service.asked == 3


@pytest.mark.parametrize(
    "answer", [busy(500), TryAgain("service-timeout"), GiveUp("service-415", True)]
)
def test_what_may_be_the_objects_is_not(answer: TryAgain | GiveUp) -> None:
    """Others shall not wait behind an object that the service cannot bear."""
    service = Scripted(answer, MADE)
    assert paced(service).analyse(b"object") == answer
    assert service.asked == 1


def test_patience_ends() -> None:
    """Then the object is put off, long before its lease is over."""
    service = Scripted(busy(503))
    began_s = time.monotonic()
    assert isinstance(paced(service, patience_s=0.2).analyse(b"object"), TryAgain)
    assert time.monotonic() - began_s < 5
    assert service.asked > 1


def test_a_longer_wait_that_is_asked_for_is_not_sat_out() -> None:
    """Retry-After beyond the patience puts the object off at once."""
    service = Scripted(busy(429, **{"Retry-After": "60"}))
    assert isinstance(paced(service).analyse(b"object"), TryAgain)
    assert service.asked == 1


def test_stopping_ends_the_wait() -> None:
    """A drain does not wait for a service that is away."""
    signals = Signals()
    signals.stop()
    service = Scripted(busy(503))
    held = PacedAnalysis(service, signals, most=1, patience_s=60.0)
    assert isinstance(held.analyse(b"object"), TryAgain)
    assert service.asked == 1
