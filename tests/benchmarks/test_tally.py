"""Counts, percentiles, and what an overload comes to."""

from __future__ import annotations

import pytest

from benchmarks.contest import Loaded, largest_difference, probability_in
from benchmarks.overload import AFTER_S, account
from benchmarks.tally import (
    DROPPED,
    OK,
    TIMED_OUT,
    Record,
    percentile,
    recovery_s,
    share_within,
    summarise,
)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_percentiles_are_nearest_ranks(share: float, expected: float) -> None:
    """Of 1 to 100, in any order."""
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    """None, not 0: nothing was quick."""
    assert percentile([], 0.5) is None


def test_summary_counts_each_kind_once() -> None:
    """Every request is answered, refused, dropped, timed out or failed."""
    statuses = [OK, OK, 429, 503, 500, DROPPED, TIMED_OUT, TIMED_OUT]
    summary = summarise([Record(0.1, 0.2, status, 0) for status in statuses], 2.0)
    assert summary["requests"] == 8
    assert (summary["answered"], summary["refused"], summary["failed"]) == (2, 2, 1)
    assert (summary["dropped"], summary["timed_out"]) == (1, 2)
    assert summary["per_s"] == 1.0
    assert summary["refused_p99_ms"] == 200.0


def test_rate_counts_answers_that_came_inside_the_window() -> None:
    """Those of the ramp and those after the end are no part of the rate."""
    records = [
        Record(-1.0, 0.5, OK, 0),  # begun and answered in the ramp
        Record(-0.1, 0.5, OK, 0),  # begun in the ramp, answered in the window
        Record(0.5, 0.1, OK, 0),
        Record(0.9, 0.7, OK, 0),  # answered after the end
    ]
    summary = summarise(records, 1.0)
    assert summary["per_s"] == 2.0
    assert summary["answered"] == 4
    assert summary["p50_ms"] == 100.0  # of the last two: the ramp's latencies do not count


def test_late_answers_and_refusals_are_not_good() -> None:
    """Good is 200 in time; told also counts a refusal in time."""
    records = [
        Record(0, 0.5, OK, 0),
        Record(0, 1.5, OK, 0),
        Record(0, 0.1, 429, 0),
        Record(0, 1.0, TIMED_OUT, 0),
    ]
    assert share_within(records, 1.0) == 0.25
    assert share_within(records, 1.0, good_only=False) == 0.5


def probes(*taken_s: float) -> list[Record]:
    begun, records = 0.0, []
    for latency in taken_s:
        records.append(Record(begun, latency, OK, 0))
        begun += latency
    return records


def test_recovery_is_the_first_quick_probe_that_others_agree_with() -> None:
    """One quick answer among slow ones is luck."""
    assert recovery_s(probes(0.9, 0.1, 0.9, 0.9, 0.12, 0.1, 0.1), 0.1) == pytest.approx(2.92)


def test_recovery_may_never_come() -> None:
    """Slow, refused or timed out to the end: None."""
    assert recovery_s(probes(0.9, 0.9, 0.9, 0.9), 0.1) is None
    assert recovery_s([Record(0, 0.01, 429, 0)] * 5, 0.1) is None


def test_overload_accounts_for_offered_good_and_refused() -> None:
    """Ten offered in two seconds, four of them good."""
    during = [Record(0.1, 0.3, OK, 0)] * 4 + [Record(0.2, 0.01, 429, 0)] * 5
    during.append(Record(0.3, 1.0, TIMED_OUT, 0))
    phases = {"before": probes(*[0.1] * 5), "during": during, "after": probes(*[0.1] * 5)}
    figures = account(Loaded(phases, 1.0, 0.2, 4.0, {}), 2.0)
    assert figures["offered_per_s"] == 5.0
    assert figures["good_per_s"] == pytest.approx(2.0)
    assert (figures["good_share"], figures["told_share"]) == (0.4, 0.9)
    assert figures["lone_before_ms"] == pytest.approx(100.0)
    assert figures["recovery_s"] == pytest.approx(0.1)
    assert figures["generator_cores"] == pytest.approx(0.05)


def test_overload_nobody_recovered_from_is_held_against_its_bar() -> None:
    """As long as was watched, not as if it had not been measured."""
    phases = {"before": probes(0.1), "during": probes(0.1), "after": probes(*[0.9] * 5)}
    assert account(Loaded(phases, 1.0, 0.2, 4.0, {}), 2.0)["recovery_s"] == AFTER_S


def test_answers_of_the_service_and_of_peers_are_compared() -> None:
    """The largest difference of the files both answered."""
    ours = {0: probability_in('{"results": [{"probability": 0.5}]}'), 1: 0.9}
    assert largest_difference(ours, {0: probability_in('{"probability": 0.75}'), 2: 0.1}) == 0.25
    assert largest_difference({0: 0.5}, {1: 0.5}) is None
