"""States of jobs and deliveries."""

from __future__ import annotations

from typing import Literal, TypeAlias

State: TypeAlias = Literal["received", "analysing", "delivering", "done", "dead"]
STATES: tuple[State, ...] = ("received", "analysing", "delivering", "done", "dead")
OPEN_STATES: tuple[State, ...] = ("received", "analysing", "delivering")
"""States of jobs that go on without an operator."""

WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"
"""States of a delivery."""
