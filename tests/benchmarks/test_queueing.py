"""The simulation against what queueing theory knows."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from benchmarks.fleet import check
from benchmarks.fleet_page import errors_line, render_fleet
from benchmarks.load import CLOSED, OPEN
from benchmarks.queueing import (
    Autoscaler,
    Device,
    Replica,
    replicas_needed,
    simulate_closed,
    simulate_open,
    simulate_window,
)

STEADY = Replica((0.01,), max_wait_s=1e9)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_wait_is_that_of_theory(load: float) -> None:
    """Random arrivals, constant service, one core: Pollaczek and Khinchine's mean wait."""
    seen = simulate_open(STEADY, 1, 100 * load, 2000.0)
    wait_s = fmean(taken_s for _, taken_s in seen.latencies_s) - 0.01
    assert wait_s == pytest.approx(load * 0.01 / (2 * (1 - load)), rel=0.08)


def test_cores_share_one_queue() -> None:
    """Two cores behind one queue wait less than two replicas chosen at random."""
    two_cores = Replica((0.01,), cores=2, max_wait_s=1e9)
    shared = simulate_open(two_cores, 1, 160.0, 200.0).percentile_s(0.99)
    fewest = simulate_open(STEADY, 2, 160.0, 200.0).percentile_s(0.99)
    chance = simulate_open(STEADY, 2, 160.0, 200.0, balancing="random").percentile_s(0.99)
    assert shared <= fewest * 1.05
    assert fewest < 0.7 * chance


def test_closed_loop_is_served_at_capacity() -> None:
    """Four clients keep one core busy, and each waits for the three others."""
    seen = simulate_closed(STEADY, 1, 4, 50.0)
    assert len(seen.latencies_s) / 50.0 == pytest.approx(100.0, rel=0.01)
    assert seen.percentile_s(0.5) == pytest.approx(0.04, rel=0.01)


def test_admission_bounds_the_wait() -> None:
    """What would wait longer than the bound is refused; the rest is answered in time."""
    seen = simulate_open(Replica((0.01,), max_wait_s=0.05), 1, 300.0, 100.0)
    assert max(taken_s for _, taken_s in seen.latencies_s) <= 0.05 + 2 * 0.01
    assert seen.refused_share == pytest.approx(2 / 3, rel=0.02)


def test_replicas_needed_grow_with_rate_and_with_chance() -> None:
    """Never below the load, more for a balancer that sees nothing, fewer for a looser target."""
    replica = Replica((0.01, 0.03), max_wait_s=0.15)
    needed = [replicas_needed(replica, rate, 0.1, requests=5000) for rate in (10, 100, 400)]
    assert needed == sorted(needed)
    assert needed[2] >= 8
    assert replicas_needed(replica, 400, 0.1, balancing="random", requests=5000) > needed[2]
    with pytest.raises(ValueError, match="no number of replicas"):
        replicas_needed(replica, 10, 0.02, requests=2000)


def test_autoscaler_follows_a_burst_with_its_lag() -> None:
    """Nothing is there before metric, decision and start; what is there goes after a while."""
    scaler = Autoscaler(target=1.0, least=2, most=20, start_s=30.0, stabilisation_s=120.0)

    def rate(now_s: float) -> float:
        return 600.0 if 100 <= now_s < 300 else 80.0

    replica = Replica((0.01,), max_wait_s=0.1)
    seen = simulate_open(replica, 2, 600.0, 900.0, rate=rate, autoscaler=scaler)
    grown = next(at_s for at_s, count in seen.replicas if count > 2)
    assert 100 + 30 < grown <= 100 + 15 + 15 + 30 + 1
    assert max(count for _, count in seen.replicas) >= 6
    assert seen.replicas[-1][1] < 6
    assert any(100 <= at_s < grown for at_s in seen.refused_at_s)
    assert not any(at_s > 220 for at_s in seen.refused_at_s)


def test_window_fills_batches_at_the_cost_of_waiting() -> None:
    """A busy device runs fuller batches with a window, and its images wait longer."""
    device = Device(fixed_s=0.002, image_s=0.0003)
    short, long = simulate_window(device, 500.0, 0.0), simulate_window(device, 500.0, 0.01)
    assert long[2] > 2 * short[2]
    assert long[0] > short[0]
    lone = simulate_window(device, 1.0, 0.01, requests=500)
    assert lone[0] == pytest.approx(0.0023)


def test_page_shows_every_figure() -> None:
    """Tables and plots come from the results alone, and say how far off the simulation is."""
    chance = random.Random(0)
    service_ms = [chance.uniform(20, 30) for _ in range(50)]
    seen = {"per_s": 40.0, "p50_ms": 90.0, "p99_ms": 120.0, "refused_share": 0.0}
    seen |= {"generator_cores": 0.1, "cores": 1.0, "lost": 0}
    loads = [
        {"replicas": 1, "mode": CLOSED, "amount": 4},
        {"replicas": 2, "mode": OPEN, "amount": 30},
    ]
    measured = {"service_ms": service_ms, "start_s": 1.5, "checks": [load | seen for load in loads]}
    machine = {"commit": "c", "at": "t", "cpu": "x", "cores": 2, "memory_gib": 1, "system": "s"}
    found = {
        "kind": "fleet",
        "model": "m",
        "files": "drawn",
        "machine": machine | {"python": "3", "versions": {}},
        "measured": measured,
        "checks": check(measured, 5.0),
        "simulated": {"needed": [], "bounds": [], "windows": [], "bursts": []},
    }
    found["simulated"] |= {"mean_ms": 25.0, "capacity_per_s": 40.0}
    page = render_fleet(found)
    assert errors_line(found["checks"]) in page
    assert "4 clients" in page
    assert "30.0/s" in page
