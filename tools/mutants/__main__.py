"""Command line: ``python -m tools.mutants --seed N --count K [--package service/scheduling]``."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tools.mutants.lines import Lines, clean_environment, trace_lines
from tools.mutants.points import Point, points_of

PACKAGES = ("cxr", "service", "export", "training")
KILLED, SURVIVED, SUSPECT, ABSENT = "killed", "survived", "equivalent?", "untested"


@dataclass(frozen=True)
class Trial:
    """How mutants are tried.

    Attributes:
        copy: A copy of the repository, in which each is applied.
        lines: Which tests run which lines.
        limit_s: The longest that the tests of one mutant may take.
    """

    copy: Path
    lines: Lines
    limit_s: float

    def of(self, point: Point) -> tuple[str, str]:
        """Apply a mutant to the copy and run its tests; return the outcome, and which tests ran."""
        known = self.lines.tests_of(point.path, point.lines)
        tests = self._within_limit(known)
        ran = f"{len(tests)} of {len(known)} tests"
        if not tests:
            return ABSENT, ran
        path = self.copy / point.path
        source = path.read_bytes()
        path.write_bytes(point.applied(source))
        try:
            code = self._run(tests)
        finally:
            path.write_bytes(source)
        if code != 0:
            return KILLED, ran
        return SUSPECT if point.suspect else SURVIVED, ran

    def _within_limit(self, tests: list[str]) -> list[str]:
        """Leave out the slowest of many, so that the limit is passed by hanging alone."""
        chosen: list[str] = []
        sum_s = 0.0
        for test in tests:
            sum_s += self.lines.durations_s[test]
            if chosen and sum_s > self.limit_s / 3:
                break
            chosen.append(test)
        return chosen

    def _run(self, tests: list[str]) -> int:
        """Run tests until one fails; whatever they started ends with them."""
        (listed := self.copy.parent / "tests.txt").write_text("\n".join(tests))
        command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        process = subprocess.Popen(  # noqa: S603
            [*command, f"@{listed}"],
            cwd=self.copy,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(self.limit_s)
        except subprocess.TimeoutExpired:
            return -1
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def copied(root: Path) -> Iterator[Path]:
    """Copy what Git would commit, with links to what it ignores."""
    git = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(git, check=True, capture_output=True, text=True)  # noqa: S603
    names = listed.stdout.split("\0")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder) / root.name
        for name in filter(None, names):
            if (root / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, copy / name)
        for name in (".venv", "bundles", ".kserve", ".checkers", ".generators"):
            if (root / name).exists() and not (copy / name).exists():
                (copy / name).symlink_to((root / name).resolve())
        if (shared := root.parent / "shared").is_dir():
            (copy.parent / "shared").symlink_to(shared.resolve())
        yield copy


def run_mutants(given: argparse.Namespace) -> int:
    """Draw mutants, try each, print what became of them; return 1 for too small a share."""
    root: Path = given.root.resolve()
    paths = sorted(path.relative_to(root) for one in given.package for path in _sources(root / one))
    sources = {path: (root / path).read_bytes() for path in paths}
    points = [point for path in paths for point in points_of(path, sources[path])]
    random.Random(given.seed).shuffle(points)  # noqa: S311
    drawn = list(islice((p for p in points if p.is_change(sources[p.path])), given.count))
    packages = sorted({Path(one).parts[0] for one in given.package})
    lines = trace_lines(root, packages, given.tests, given.workers)
    told: Counter[str] = Counter()
    with copied(root) as copy:
        trial = Trial(copy, lines, given.limit_s)
        for number, point in enumerate(drawn, 1):
            outcome, ran = trial.of(point)
            told[outcome] += 1
            line = sources[point.path][: point.span[0]].count(b"\n") + 1
            what = f"{point.kind}, {point.path}:{line} ({ran})"
            print(f"{number}/{len(drawn)} {outcome}: {what}", flush=True)
            if outcome != KILLED:
                print(point.diff(sources[point.path]))
    share = told[KILLED] / len(drawn) if drawn else 1.0
    counts = ", ".join(f"{told[name]} {name}" for name in (KILLED, SURVIVED, SUSPECT, ABSENT))
    print(f"{counts} of {len(points)} points: {share:.0%} killed")
    return int(share < given.at_least)


def _sources(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*.py"))


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutants",
        description="Change the product code at random and print what no test notices.",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw; default: 0")
    parser.add_argument("--count", type=int, default=40, help="mutants to draw; default: 40")
    parser.add_argument("--package", nargs="+", default=PACKAGES, help="packages, folders, modules")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="folders or modules of tests")
    parser.add_argument("--workers", type=int, default=1, help="processes that trace; default: 1")
    parser.add_argument("--limit-s", type=float, default=180, help="for one mutant; default: 180")
    parser.add_argument("--at-least", type=float, default=0.0, help="smallest share killed, 0 to 1")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository; default: here")
    return run_mutants(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
