"""What the service takes from a worker: plain data of its own classes, whatever was sent."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.answers import ImageFacts, ResultDigest
from service.errors import Failure, QueueFullError
from service.scheduling.lane import CoreRead
from service.telemetry.timeline import Stage
from service.workers.codec import MOST_JSON_BYTES, CodecError, decode, encode
from service.workers.messages import Outcome

FACTS = ImageFacts(sha256="0" * 64, format="png", width=3, height=2, dicom=None)

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.builds(Stage, st.text(), st.floats(0, 9), st.floats(0, 9))
        | st.builds(CoreRead, st.just(()), inner)
    ),
    max_leaves=20,
)


def sent(value: object) -> list[bytes]:
    """Send a value."""
    return [bytes(part) for part in encode(value)]


@given(PLAIN)
def test_plain_data_arrive_as_they_were(value: Any) -> None:
    """Each in its own type, lists and tuples, numbers and texts."""
    seen = decode(sent(value))
    assert seen == value
    assert type(seen) is type(value)


def test_objects_arrays_and_errors_arrive() -> None:
    """What workers really send."""
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    read = CoreRead((Stage("decode", 1.0, 2.0),), (FACTS, ResultDigest("refer", 0.5, None), pixels))
    seen = decode(sent(Outcome(7, [read]))).value[0]
    assert seen.stages == read.stages
    assert seen.value[:2] == read.value[:2]  # type: ignore[index]
    np.testing.assert_array_equal(seen.value[2], pixels)
    failure = decode(sent(Outcome(8, failure=Failure.of(QueueFullError("Full.", 7))))).failure
    assert failure.restore().retry_after_s == 7
    assert isinstance(decode(sent([QueueFullError("Full.", 7)]))[0], QueueFullError)
    assert np.isnan(decode(sent(float("nan"))))


def test_what_is_no_plain_data_is_not_sent() -> None:
    """A mistake in a job is found where it is made."""
    for odd in (object(), {1, 2}, lambda: 0, open):
        with pytest.raises(CodecError):
            encode([odd])


HOSTILE = {
    "a class of the library": ["o", "subprocess:Popen", ["t", "true"]],
    "a function": ["o", "service.workers.codec:decode", ["t"]],
    "a member of a class": ["o", "service.errors:Failure.of", 1],
    "a module not here": ["o", "service.gateway.gateway:Gateway"],
    "a class imported there": ["o", "service.workers.codec:BaseModel"],
    "no plain class": ["o", "service.workers.pool:WorkerPool", 1],
    "too few members": ["o", "service.telemetry.timeline:Stage", "decode"],
    "members of other types": ["o", "service.answers:ImageFacts", 1, 2, 3, 4, 5],
    "no error of ours": ["f", "service.answers:ImageFacts", ["t"], ["d"]],
    "a missing buffer": ["b", 5],
    "a buffer of no number": ["b", "x"],
    "the message itself": ["b", 0],
    "objects in an array": ["a", 1, "|O", 1],
    "records in an array": ["a", 1, "i4,i4", 1],
    "another shape": ["a", 1, "|u1", 1000, 1000, 1000],
    "a dictionary of odd parts": ["d", 1],
    "a list for a key": ["d", ["l"], 1],
    "an unknown tag": ["z"],
    "nothing": [],
    "an object": {"a": 1},
    "no enumeration": ["e", "service.telemetry.timeline:Stage", 1],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_data_are_refused(what: str) -> None:
    """By one error, whose words are not the worker's."""
    with pytest.raises(CodecError) as refused:
        decode([json.dumps(HOSTILE[what]).encode(), b"1234"])
    assert len(str(refused.value)) < 160


COSTLY = {
    "deep": b"[" * 500_000,
    "deep and closed": b'["t",' * 100_000 + b"1" + b"]" * 100_000,
    "many": b'["t"' + b",1" * 400_000 + b"]",
    "many empty": b'["t"' + b',["t"]' * 150_000 + b"]",
    "long": b'"' + b"x" * MOST_JSON_BYTES + b'"',
    "a long number": b"9" * (MOST_JSON_BYTES - 1),
}


@pytest.mark.parametrize("what", COSTLY)
def test_what_costs_much_is_refused_soon(what: str) -> None:
    """The event loop reads it: a pickle of 90 bytes would have taken hours."""
    with pytest.raises(CodecError):
        decode([COSTLY[what]])
