"""What holds for every order of events: lanes of two models on the same cores."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr.errors import UnreadableImageError
from service.deadline import Deadline
from service.engines.protocol import EngineOutput
from service.errors import DeadlineExceededError, InferenceFailedError, QueueFullError
from service.images.preparation import PreparedImage
from service.scheduling.core_pool import CorePool
from service.scheduling.lane import ReadImage, read_all
from service.telemetry.timeline import Timeline
from tests.service.harness import until
from tests.service.lane_work import make_core_lane, make_prepared, number_of

CAPACITY = 6
UNREADABLE, FAILING, NOT_FINITE = 5, 7, 11  # images of these numbers, modulo, fail alone

steps = st.one_of(
    st.tuples(st.sampled_from(["a", "b", "hurried a", "hurried b"]), st.integers(1, 4)),
    st.tuples(st.just("cancel"), st.integers(0, 12)),
    st.tuples(st.just("let"), st.integers(1, 4)),
    st.tuples(st.just("later"), st.just(0)),
)


class Theatre:
    """Cores that decode only when let, an engine that doubles, and a clock that is moved."""

    max_batch = 1

    def __init__(self, cores: int) -> None:
        self.cores, self.now_s = cores, 0.0
        self.pool = CorePool(cores)
        self.lanes = {name: make_core_lane(self, self.pool, name, CAPACITY) for name in "ab"}
        self.allowed, self.let = threading.Semaphore(0), 0
        self.lock = threading.Lock()
        self.begun: list[int] = []
        self.decoded: list[int] = []
        self.ran: list[int] = []
        self.numbers: dict[asyncio.Task[list[ReadImage | Exception]], list[int]] = {}
        self.flow_of: dict[int, str] = {}
        self.hurried: set[int] = set()
        self.unwanted: set[int] = set()  # are not to begin
        self.pointless: set[int] = set()  # are not to be run
        self.cancelled: set[int] = set()

    def prepare(self, number: int) -> PreparedImage:
        """Decode an image, once that is allowed."""
        with self.lock:
            self.begun.append(number)
        assert self.allowed.acquire(timeout=20)
        with self.lock:
            self.decoded.append(number)
        if number % UNREADABLE == 0:
            raise UnreadableImageError(f"{number} is cut.")
        return make_prepared(number)

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Answer as ``Engine.run`` does: the double of the number."""
        [[[[high, low]]]] = images.tolist()
        number = 256 * high + low
        with self.lock:
            self.ran.append(number)
        if number % FAILING == 0:
            raise RuntimeError("secret")
        answer = np.array([[np.nan if number % NOT_FINITE == 0 else 2 * number]], np.float32)
        return EngineOutput(answer, answer, answer)

    async def read(self, model: str, count: int, life_s: float) -> None:
        """Send a request, which is refused if and only if there is no room."""
        under_way = self.lanes[model].in_flight.images
        first = len(self.flow_of) + 1
        numbers = list(range(first, first + count))
        images = [(partial(self.prepare, number), ReadImage) for number in numbers]
        deadline = Deadline(self.now_s + life_s, lambda: self.now_s)
        timelines = Timeline().add_images(count)
        task = asyncio.create_task(read_all(self.lanes[model], images, deadline, timelines))
        self.numbers[task] = numbers
        self.flow_of |= dict.fromkeys(numbers, model)
        await asyncio.sleep(0)
        is_refused = task.done() and isinstance(task.exception(), QueueFullError)
        assert is_refused == (under_way + count > CAPACITY)
        if is_refused:
            self.unwanted |= set(numbers)
        elif life_s < 10:
            self.hurried |= set(numbers)

    async def cancel(self, index: int) -> None:
        """Have a client go away."""
        task = list(self.numbers)[index % len(self.numbers)]
        await self.settle()
        if task.done():
            return
        waiting, inside = self.still(self.numbers[task])
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        self.unwanted |= waiting
        self.pointless |= inside
        self.cancelled |= set(self.numbers[task])

    async def later(self) -> None:
        """Let the deadlines of the hurried pass."""
        await self.settle()
        waiting, inside = self.still(self.hurried)
        self.unwanted |= waiting
        self.pointless |= inside
        self.now_s += 10
        self.hurried = set()

    def still(self, numbers: set[int] | list[int]) -> tuple[set[int], set[int]]:
        """Give those that have not begun, and those in decoding."""
        begun = set(self.begun)
        return set(numbers) - begun, (set(numbers) & begun) - set(self.decoded)

    async def settle(self) -> None:
        """Wait until every core is held in decoding, or nothing waits for one."""
        await until(self.is_settled)

    def is_settled(self) -> bool:
        """Whether no thread is between two images."""
        all_held = len(self.begun) - len(self.decoded) == self.cores
        if all_held and self.let == len(self.decoded):
            return True
        coming = {n for task, own in self.numbers.items() if not task.done() for n in own}
        return coming - self.unwanted <= set(self.begun) and self.has_used_what_was_let

    @property
    def has_used_what_was_let(self) -> bool:
        """Whether those in decoding are held there."""
        return self.let <= len(self.decoded) or len(self.begun) == len(self.decoded)


def verify_outcome(theatre: Theatre, number: int, outcome: ReadImage | Exception) -> None:
    """See that an image got its own answer, or the failure that is its own."""
    if isinstance(outcome, ReadImage):
        assert number_of(outcome.image) == number
        assert outcome.row.logits.tolist() == [2 * number], "an answer was swapped"
        assert all(number % failing for failing in (UNREADABLE, FAILING, NOT_FINITE))
    elif isinstance(outcome, UnreadableImageError):
        assert str(outcome) == f"{number} is cut."
        assert number % UNREADABLE == 0
    elif isinstance(outcome, InferenceFailedError):
        assert number in theatre.ran
        assert not number % FAILING or not number % NOT_FINITE
    else:
        assert isinstance(outcome, DeadlineExceededError)
        assert number not in theatre.ran
        assert number in theatre.unwanted | theatre.pointless


async def play(script: list[tuple[str, int]], cores: int) -> None:
    """Play one script and check what must hold at the end."""
    theatre = Theatre(cores)
    for what, how_many in script:
        if what == "later":
            await theatre.later()
        elif what == "let":
            theatre.let += how_many
            theatre.allowed.release(how_many)
        elif what != "cancel":
            life_s = 5.0 if "hurried" in what else 1000.0
            await theatre.read(what[-1], how_many, life_s)
        elif theatre.numbers:
            await theatre.cancel(how_many)
    theatre.allowed.release(len(theatre.flow_of) + 1)
    async with asyncio.timeout(20):
        await asyncio.gather(*theatre.numbers, return_exceptions=True)
        # Jobs nobody waits for any more may still be in decoding.
        await until(lambda: len(theatre.begun) == len(theatre.decoded))
    theatre.pool.submit(lambda: None).result(timeout=10)
    theatre.pool.close()
    assert all(lane.in_flight.images == 0 for lane in theatre.lanes.values())
    assert len(theatre.begun) == len(set(theatre.begun)), "something was decoded twice"
    assert len(theatre.ran) == len(set(theatre.ran)), "something was run twice"
    assert not theatre.unwanted & set(theatre.begun), "decoded though nobody waited"
    assert not theatre.pointless & set(theatre.ran), "run though nobody waited"
    if cores == 1:
        for flow in "ab":
            own = [number for number in theatre.begun if theatre.flow_of[number] == flow]
            assert own == sorted(own), "somebody was overtaken"
    for task, numbers in theatre.numbers.items():
        if task.cancelled():
            assert set(numbers) <= theatre.cancelled
        elif not isinstance(task.exception(), QueueFullError):
            for number, outcome in zip(numbers, task.result(), strict=True):
                verify_outcome(theatre, number, outcome)


@settings(max_examples=100, deadline=None)
@given(script=st.lists(steps, max_size=25), cores=st.integers(1, 3))
def test_nothing_is_lost_swapped_or_run_for_nobody(
    script: list[tuple[str, int]], cores: int
) -> None:
    """Each accepted image is answered once with its own answer, or told why not; in order."""
    asyncio.run(play(script, cores))
