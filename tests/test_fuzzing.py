"""The families of ``make fuzz``: the same inputs for the same numbers, and bounds that hold."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tests.fuzz import FAMILIES, read_inputs
from tests.fuzzing.families import MIB, BoundExceededError, Family, about, read_bounded


def take(count: int) -> Family:
    """One that takes so many MiB."""
    return Family(
        "takes", lambda rng: b"x", lambda data: bool(bytearray(count * MIB)), 60, 32 * MIB
    )


def spend(rounds: int) -> Family:
    """One that computes."""
    return Family("spends", lambda rng: b"x", lambda data: sum(range(rounds)) >= 0, 0.05, MIB * 999)


def test_an_input_that_costs_too_much_is_a_finding() -> None:
    """Memory and CPU are those of one input: what others took before does not count."""
    assert read_bounded(take(8), b"x")
    with pytest.raises(BoundExceededError, match="takes, 1 bytes"):
        read_bounded(take(64), b"x")
    assert read_bounded(take(8), b"x")
    assert read_bounded(spend(1000), b"x")
    with pytest.raises(BoundExceededError, match="spends"):
        read_bounded(spend(10_000_000), b"x")


def test_what_a_reader_raises_is_a_finding() -> None:
    """Nothing is swallowed but what the family calls a refusal."""

    def fail(data: bytes) -> bool:
        raise KeyError(data)

    with pytest.raises(KeyError):
        read_inputs(Family("fails", lambda rng: b"x", fail, 60, 999 * MIB), 1, 0)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_inputs_follow_from_their_number(name: str) -> None:
    """A finding can be made again; and no two are alike."""
    make = FAMILIES[name].make
    first = [hashlib.sha256(make(np.random.default_rng(n))).digest() for n in range(4)]
    again = [hashlib.sha256(make(np.random.default_rng(n))).digest() for n in range(4)]
    assert first == again
    assert len(set(first)) == 4


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_families_hold(name: str) -> None:
    """The short form of ``make fuzz``: only refusals come, and each in its bounds."""
    assert 0 < read_inputs(FAMILIES[name], 24, 5000) < 24


def test_sizes_spread_over_orders_of_magnitude() -> None:
    """Small bombs are as likely as large ones: what is at the edge of a bound is met."""
    rng = np.random.default_rng(0)
    sizes = [about(rng, 1, 1_000_000) for _ in range(600)]
    assert 150 < sum(size < 1000 for size in sizes) < 450
    assert max(sizes) <= 1_000_000
