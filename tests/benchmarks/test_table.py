"""Figures beside their bars, and the page they are put into."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.bars import BARS, judge
from benchmarks.child import MeasureError
from benchmarks.report import BEGIN, END, PAGE, insert
from benchmarks.table import MARKS, bars_table, generator_line, number, render


def results(**model: Any) -> dict[str, Any]:
    machine = {"cpu": "C", "cores": 2, "memory_gib": 8, "system": "S", "python": "3"}
    machine |= {"versions": {"numpy": "2"}, "commit": "abc", "at": "now"}
    return {
        "machine": machine,
        "options": {"rounds": 3, "seconds": 10.0, "settings": {"CXR_EXPLAIN": "off"}},
        "files": {"kind": "originals", "count": 5, "mean_kib": 300.0},
        "models": {"resnet18": {"ratios": {}, **model}},
        "gpu": {"absent": "No device."},
    }


@pytest.mark.parametrize(
    ("model", "cpu", "met"),
    [
        ("resnet18", 1.08, True),
        ("resnet18", 1.09, False),
        ("small_cnn", 1.15, True),
        ("another", 1.0, None),
    ],
)
def test_bars_depend_on_the_model(model: str, cpu: float, met: bool | None) -> None:
    """The bound itself is met; a model without one is only reported."""
    (verdict,) = [v for v in judge(model, {"ratios": {"cpu": cpu}}) if v.bar.key == "ratios.cpu"]
    assert verdict.is_met is met


def test_more_is_better_where_the_bar_says_so() -> None:
    """Throughput below its bar is missed, above it is met."""
    verdicts = {
        rate: [v.is_met for v in judge("any", {"ratios": {"rate_32": rate}}) if v.value is not None]
        for rate in (0.92, 0.93)
    }
    assert verdicts == {0.92: [False], 0.93: [True]}


def test_table_shows_met_missed_and_not_measured() -> None:
    """Each bar is a row, whatever was measured."""
    table = bars_table(judge("resnet18", {"ratios": {"cpu": 1.2, "rate_32": 0.95}}))
    lines = table.splitlines()
    assert len(lines) == len(BARS) + 2
    assert "| 1.20 | at most 1.08 | **missed** |" in table
    assert "| 0.95 | at least 0.93 | met |" in table
    assert "| not measured | at most 1.20 |  |" in table
    assert set(MARKS) == {True, False, None}


def test_starts_are_held_against_bars_of_the_run() -> None:
    """They are of three models together; explanations have no bar."""
    page = render(results() | {"start": {"off_s": 2.5, "on_s": 3.5, "explains_s": 9.0}})
    assert "| 2.50 s | at most 3.00 s | met |" in page
    assert "| 3.50 s | at most 3.00 s | **missed** |" in page
    assert "| 9.00 s |  |  |" in page


def test_both_ways_to_a_worker_stand_side_by_side() -> None:
    """Time and CPU time of each."""
    keys = ("size_bytes", "socket_us", "socket_cpu_us", "shared_us", "shared_cpu_us")
    page = render(
        results() | {"workers": [dict(zip(keys, (100_000, 50, 60, 40, 45), strict=True))]}
    )
    assert "| 100,000 | 50.0 | 60.0 | 40.0 | 45.0 |" in page


@pytest.mark.parametrize("recovery_s", [None, 6.0])
def test_a_server_that_did_not_recover_is_said_so(recovery_s: float | None) -> None:
    """In results of earlier runs, too, which have no figure then."""
    keys = ("offered_per_s", "good_per_s", "good_share", "generator_cores")
    summary = {"p99_ms": None, "refused": 0, "timed_out": 9, "dropped": 0}
    one = dict.fromkeys(keys, 0.5) | {"summary": summary, "recovery_s": recovery_s}
    assert "| not in 6 s |" in render(results(overloads={"service": one}))


@pytest.mark.parametrize(
    ("value", "text"), [(0.034, "0.03"), (1.084, "1.08"), (12.34, "12.3"), (345.6, "346")]
)
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    """Two after the point below ten, none from a hundred on."""
    assert number(value) == text


def test_a_run_is_rendered_with_machine_commit_and_settings() -> None:
    """Whoever reads a figure can see where it was measured."""
    page = render(results(notes=["No int8 ONNX in the bundle."]))
    for part in ("Commit abc", "C, 2 cores", "CXR_EXPLAIN=off", "- No int8", "No device."):
        assert part in page


@pytest.mark.parametrize(("cores", "relied_on"), [(0.05, True), (0.5, False)])
def test_a_disturbed_run_says_so(cores: float, relied_on: bool) -> None:
    """Rates of a machine that others used are not passed on without a word."""
    page = render(results() | {"neighbour_cores": cores})
    assert f"others kept {cores:.2f} cores busy" in page
    assert ("not to be relied on" not in page) is relied_on


def test_the_generator_is_compared_with_the_quickest_server() -> None:
    """Its ceiling means something beside what it was used for only."""
    servers = {name: {"per_s": rate} for name, rate in (("a", 50.0), ("b", 200.0))}
    run = {"generator": {"per_s": 4000.0, "cpu_s_per_request": 0.0001}}
    assert "20.0 times" in generator_line(run | {"models": {"m": {"servers": servers}}})
    assert "not measured" in generator_line({"models": {}})


def test_results_replace_what_was_between_the_marks() -> None:
    """The method around them stays, and doing it twice changes nothing."""
    first, last = BEGIN.format(what="results"), END.format(what="results")
    once = insert(f"before\n{first}\nold\n{last}\nafter\n", "new\n")
    assert once == f"before\n{first}\n\nnew\n\n{last}\nafter\n"
    assert insert(once, "new\n") == once


def test_a_page_without_marks_is_refused() -> None:
    """Rather than written over."""
    with pytest.raises(MeasureError):
        insert("nothing here", "new")


def test_the_shipped_page_has_the_marks() -> None:
    """The report command can write into it."""
    for what in ("results", "gateway"):
        whole = f"{BEGIN}\n\na table\n\n{END}".format(what=what)
        assert whole in insert(PAGE.read_text(), "a table", what)
