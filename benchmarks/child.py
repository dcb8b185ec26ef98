"""A measuring process: told a plan, says when it is ready, starts when told, gives a result.

One JSON document per line. What it measures begins with the word to go, so that the cost of
starting it is no part of anything.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent
STDOUT = 1


class MeasureError(Exception):
    """Something could not be measured; the message says what."""


class Child:
    """Runs ``python -m <module>`` with a plan.

    Args:
        module: One that reads its plan with :func:`read_plan`.
        plan: Anything that JSON holds.
        env: Environment; this process's if None.
    """

    def __init__(self, module: str, plan: Any, env: Mapping[str, str] | None = None) -> None:
        self._module = module
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=dict(os.environ if env is None else env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(plan)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        if kind is not None:
            self.process.kill()
        self.process.wait(timeout=30)

    def wait_ready(self) -> None:
        """Wait until nothing is left to prepare.

        Raises:
            MeasureError: It ended instead.
        """
        self.read()

    def go(self) -> None:
        """Let it begin."""
        self._say("go")

    def read(self) -> Any:
        """Read what it says next.

        Raises:
            MeasureError: It ended instead.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise MeasureError(f"{self._module} ended with {self.process.wait()}")
        return json.loads(line)

    def _say(self, what: Any) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise MeasureError(f"{self._module} ended with {self.process.wait()}") from None


def read_plan() -> Any:
    """Give the plan, in the measuring process."""
    return json.loads(sys.stdin.readline())


def say(what: Any) -> None:
    """Say something to whoever started the measuring process.

    Written bit by bit: a closed uvloop leaves the pipe so that a text stream loses what does not
    fit into it at once.
    """
    rest = memoryview(json.dumps(what).encode() + b"\n")
    while rest:
        try:
            rest = rest[os.write(STDOUT, rest) :]
        except BlockingIOError:
            select.select([], [STDOUT], [])


def wait_for_go() -> None:
    """Say that all is prepared, and wait for the word."""
    say("ready")
    if not sys.stdin.readline():
        raise SystemExit(1)  # whoever asked is gone
