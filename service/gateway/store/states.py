"""What can become of a job."""

from __future__ import annotations

from typing import Literal, TypeAlias

State: TypeAlias = Literal["received", "analysing", "delivering", "done", "dead"]
STATES: tuple[State, ...] = ("received", "analysing", "delivering", "done", "dead")
OPEN_STATES: tuple[State, ...] = ("received", "analysing", "delivering")
"""Those that go on by themselves."""
