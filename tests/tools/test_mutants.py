"""Mutants of a tiny package, whose fates are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tools.mutants.lines import trace_lines
from tools.mutants.points import points_of

MODULE = '''"""Sums."""
import subprocess
import sys


def total(numbers):
    """Sum."""
    return sum(numbers) + 1


def unwatched(number):
    return number * 2


def absent(number):
    return number - 3


if __name__ == "__main__":
    print(total([2, 3]))
'''

TESTS = """
import subprocess, sys
import tiny.sums as sums


def test_total():
    assert sums.total([1, 2]) == 4


def test_unwatched():
    sums.unwatched(0)


def test_broken():
    assert sums.unwatched(0)
"""

ELSEWHERE = """
import subprocess, sys


def test_process():
    subprocess.run([sys.executable, "-m", "tiny.sums"], check=True)
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A repository of one package and two modules of tests."""
    root = tmp_path / "tiny"
    for name, text in {
        "tiny/__init__.py": "",
        "tiny/sums.py": MODULE,
        "tests/test_sums.py": TESTS,
        "tests/test_elsewhere.py": ELSEWHERE,
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\n',
        ".gitignore": "/.mutants/\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    return root


def texts(source: str) -> list[tuple[str, str]]:
    return [(point.kind, point.text) for point in points_of(Path("m.py"), source.encode())]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ("comparison", "(a <= b)")),
        ("a is not b", ("comparison", "(a is b)")),
        ("a + b", ("arithmetic", "(a - b)")),
        ("a and b", ("boolean", "(a or b)")),
        ("a = 4", ("constant", "(3)")),
        ("a = 4", ("constant", "(5)")),
        ("a = True", ("constant", "(False)")),
        ("def f():\n    return a", ("return value", "return None")),
        ("f()", ("removed statement", "pass")),
        ("raise f", ("removed statement", "pass")),
        ("a = f(b, c, d)", ("swapped arguments", "(f(c, b, d))")),
        ("if a:\n    f()", ("condition", "not (a)")),
        ("a = b if c else d", ("condition", "(b if not c else d)")),
    ],
)
def test_every_operator_finds_its_place(source: str, expected: tuple[str, str]) -> None:
    """Each kind of change, with the text that replaces the place."""
    assert expected in texts(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "a: 1 | 2",
        "def f(a: 3) -> 4: ...",
        "a = f'{1 + 1}'",
        "a = 'b' + c",
        "def f():\n    return None",
        "if TYPE_CHECKING:\n    a = 1",
    ],
)
def test_texts_and_annotations_stay(source: str) -> None:
    """What no test could notice is no place."""
    assert texts(source) == []


def test_change_replaces_its_place_alone() -> None:
    """Also behind characters of several bytes, and the diff shows it."""
    source = 'a = "ä", b < c\n'.encode()
    [point] = [p for p in points_of(Path("m.py"), source) if p.kind == "comparison"]
    assert point.applied(source).decode() == 'a = "ä", (b <= c)\n'
    assert '-a = "ä", b < c\n+a = "ä", (b <= c)\n' in point.diff(source)
    assert point.suspect
    assert point.is_change(source)


def test_lines_are_attributed_to_their_tests(tiny: Path) -> None:
    """By test, and by module for another process; failed tests are left out; the rest is kept."""
    lines = trace_lines(tiny, ["tiny"], ["tests"], 1)
    of_total = set(lines.tests_of(Path("tiny/sums.py"), (8, 8)))
    assert of_total == {
        "tests/test_sums.py::test_total",
        "tests/test_elsewhere.py::test_process",
    }
    assert lines.tests_of(Path("tiny/sums.py"), (12, 12)) == ["tests/test_sums.py::test_unwatched"]
    assert lines.tests_of(Path("tiny/sums.py"), (16, 16)) == []
    written = (tiny / ".mutants" / "lines.json").stat().st_mtime_ns
    trace_lines(tiny, ["tiny"], ["tests"], 1)
    assert (tiny / ".mutants" / "lines.json").stat().st_mtime_ns == written
    (tiny / "tests" / "test_elsewhere.py").write_text("def test_nothing(): pass\n")
    assert trace_lines(tiny, ["tiny"], ["tests"], 1).tests_of(Path("tiny/sums.py"), (8, 8)) == [
        "tests/test_sums.py::test_total"
    ]


def run_tool(tiny: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.mutants", "--root", str(tiny), "--package", "tiny"]
    return subprocess.run(
        [*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_command_tells_killed_from_survived(tiny: Path) -> None:
    """A survivor is shown as a diff; the working tree stays as it was; the share decides."""
    finished = run_tool(tiny, "--count", "99", "--at-least", "0.99")
    assert finished.returncode == 1, finished.stderr
    told = finished.stdout
    assert "killed: arithmetic, tiny/sums.py:8" in told
    assert "killed: constant, tiny/sums.py:8" in told
    assert "survived: arithmetic, tiny/sums.py:12" in told
    assert "untested: arithmetic, tiny/sums.py:16" in told
    assert "-    return number * 2\n+    return (number / 2)\n" in told
    assert (tiny / "tiny" / "sums.py").read_text() == MODULE
    assert run_tool(tiny, "--count", "0", "--at-least", "1").returncode == 0
