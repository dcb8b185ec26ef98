"""Which tests run which lines: traced once, kept on disk, traced again where something changed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TRACER = Path(__file__).parent / "tracer"
CACHE = Path(".mutants") / "lines.json"


@dataclass
class Lines:
    """The lines that each test runs.

    Attributes:
        runs: By test, then by file. A module of tests has the lines of its fixtures and processes.
        durations_s: Of the tests that passed.
    """

    runs: dict[str, dict[str, set[int]]] = field(default_factory=dict)
    durations_s: dict[str, float] = field(default_factory=dict)

    def tests_of(self, path: Path, lines: tuple[int, int]) -> list[str]:
        """Return the tests that run any of these lines, the quickest first."""
        wanted, file = set(range(lines[0], lines[1] + 1)), str(path)
        places = {place for place, files in self.runs.items() if wanted & files.get(file, set())}
        found = [
            test for test in self.durations_s if test in places or test.partition("::")[0] in places
        ]
        return sorted(found, key=self.durations_s.__getitem__)


def trace_lines(root: Path, packages: list[str], tests: Iterable[str], workers: int) -> Lines:
    """Return the lines of all tests, after running those that changed or whose lines did."""
    cache = root / CACHE
    kept: dict[str, Any] = json.loads(cache.read_text()) if cache.is_file() else {}
    modules = sorted(
        {str(path.relative_to(root)) for one in tests for path in _modules(root / one)}
    )
    key = " ".join(packages)
    stale = [
        name
        for name in modules
        if name not in kept or kept[name]["digest"] != _digest(root, key, name, kept[name]["runs"])
    ]
    if stale:
        print(f"tracing {len(stale)} of {len(modules)} test modules", file=sys.stderr)
        kept |= _trace(root, packages, key, stale, workers)
        cache.parent.mkdir(exist_ok=True)
        cache.write_text(json.dumps(kept))
    lines = Lines()
    for name in modules:
        for place, files in kept[name]["runs"].items():
            lines.runs[place] = {file: set(numbers) for file, numbers in files.items()}
        lines.durations_s |= kept[name]["durations_s"]
    return lines


def clean_environment() -> dict[str, str]:
    """Return the environment without what a pytest around this one has put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


def _modules(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("test_*.py"))


def _digest(root: Path, key: str, module: str, runs: dict[str, Any]) -> str:
    """Return the digest of a module of tests and of all that it ran."""
    digest = hashlib.sha256(key.encode())
    for name in sorted({module, *(file for files in runs.values() for file in files)}):
        path = root / name
        digest.update(path.read_bytes() if path.is_file() else b"absent")
    return digest.hexdigest()


def _trace(
    root: Path, packages: list[str], key: str, modules: list[str], workers: int
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        python_path = os.pathsep.join(filter(None, (str(TRACER), os.environ.get("PYTHONPATH"))))
        settings = {
            "MUTANTS_LINES": folder,
            "MUTANTS_ROOT": str(root),
            "MUTANTS_PACKAGES": " ".join(packages),
            "PYTHONPATH": python_path,
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "outcomes", *modules]
        if workers > 1:
            command += ["-n", str(workers), "--dist", "loadscope"]
        env = clean_environment() | settings
        subprocess.run(command, cwd=root, env=env, stdout=sys.stderr, check=False)  # noqa: S603
        return _collected(Path(folder), root, key, modules)


def _collected(folder: Path, root: Path, key: str, modules: list[str]) -> dict[str, Any]:
    """Read what the tracers wrote."""
    found: dict[str, Any] = {name: {"runs": {}, "durations_s": {}} for name in modules}
    failed = set()
    outcomes = folder / "outcomes"
    for line in outcomes.read_text().splitlines() if outcomes.is_file() else ():
        outcome, duration_s, test = line.split("\t", 2)
        of_module = found[test.partition("::")[0]]["durations_s"]
        of_module[test] = of_module.get(test, 0.0) + float(duration_s)
        if outcome != "passed":
            failed.add(test)
    for test in failed:
        del found[test.partition("::")[0]]["durations_s"][test]
    for path in folder.glob("*.lines"):
        for line in path.read_text().splitlines():
            place, file, number = line.rsplit("\t", 2)
            if (module := place.partition("::")[0]) in found:
                files = found[module]["runs"].setdefault(place, {})
                files.setdefault(file, set()).add(int(number))
    for name, entry in found.items():
        for files in entry["runs"].values():
            files.update({file: sorted(numbers) for file, numbers in files.items()})
        entry["digest"] = _digest(root, key, name, entry["runs"])
    return found
