"""What a process tree uses, read from files made here and from a real child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.neighbours import Neighbours, busy_s
from benchmarks.process import TICKS_PER_S, cpu_s_of, tree_of, usage_of


def make_process(proc: Path, pid: int, parent: int, name: str, *ticks: int, rss_kib: int) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    times = " ".join(map(str, ticks))
    (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0 -1 0 0 0 0 0 {times} 20 0\n")
    (folder / "status").write_text(
        f"Name:\t{name}\nVmHWM:\t{2 * rss_kib} kB\nVmRSS:\t{rss_kib} kB\n"
    )
    (folder / "smaps_rollup").write_text(f"55-ff ---p 0 [rollup]\nPss:  {rss_kib // 2} kB\n")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A tree of three beside a stranger."""
    make_process(tmp_path, 10, 1, "server", 100, 50, 20, 10, rss_kib=1000)
    make_process(tmp_path, 11, 10, "a (b) c", 200, 0, 0, 0, rss_kib=500)
    make_process(tmp_path, 12, 11, "worker", 0, 20, 0, 0, rss_kib=300)
    make_process(tmp_path, 13, 1, "stranger", 999, 999, 0, 0, rss_kib=999)
    (tmp_path / "uptime").write_text("1 1\n")
    return tmp_path


def test_tree_holds_all_descendants_and_nobody_else(proc: Path) -> None:
    """Names with brackets do not confuse it."""
    assert sorted(tree_of(10, proc)) == [10, 11, 12]


def test_cpu_time_counts_the_dead_children_too(proc: Path) -> None:
    """User, system, and both of awaited children."""
    assert cpu_s_of(10, proc) == pytest.approx(400 / TICKS_PER_S)


def test_memory_is_summed(proc: Path) -> None:
    """RSS, its peak and PSS, in bytes."""
    usage = usage_of(10, proc)
    assert usage.rss_bytes == 1800 * 1024
    assert usage.peak_rss_bytes == 3600 * 1024
    assert usage.pss_bytes == 900 * 1024
    assert usage.processes == 3


def test_neighbours_are_what_the_machine_did_besides(proc: Path) -> None:
    """Busy time of all cores, less the tree's own; idle and waiting are not busy."""

    def write_total(user: int, idle: int) -> None:
        (proc / "stat").write_text(f"cpu  {user} 10 20 {idle} 7 1 2 3 5 6\ncpu0 1 1 1\n")

    write_total(user=1000, idle=5)
    assert busy_s(proc) == pytest.approx(1036 / TICKS_PER_S)
    neighbours = Neighbours(10, proc)
    write_total(user=1000, idle=9999)
    assert neighbours.cores() == 0.0
    write_total(user=2000, idle=9999)
    assert neighbours.cores() > 0.0


def test_a_process_that_ended_uses_nothing(proc: Path) -> None:
    """Between listing and reading anything may end."""
    assert usage_of(99, proc).rss_bytes == 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_a_real_child_is_found() -> None:
    """A child that waits is in this process's tree and has memory."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            assert child.pid in tree_of(os.getpid())
            assert usage_of(child.pid).rss_bytes > 1_000_000
        finally:
            assert child.stdin is not None
            child.stdin.close()
