"""How slowly a body may come."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.settings import AccessSettings


@dataclass(frozen=True)
class BodyRate:
    """The slowest rate at which a body may come.

    Attributes:
        grace_s: How far a body may fall behind the rate. So much is also its longest pause.
        bytes_per_s: What it has to bring on average.
    """

    grace_s: float
    bytes_per_s: float

    @classmethod
    def of(cls, settings: AccessSettings) -> BodyRate:
        """Give what an operator has set."""
        return cls(settings.body_grace_s, settings.body_bytes_per_s)


@dataclass
class Patience:
    """How much longer one body is waited for.

    It begins with the grace, time waited takes from it, and bytes add to it, never beyond the
    grace: what came fast at first is no credit for a long pause.

    Attributes:
        rate: The slowest rate.
        left_s: Time that may still be waited for the next bytes; over when not positive.
    """

    rate: BodyRate
    left_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.left_s = self.rate.grace_s

    def note(self, count: int, waited_s: float) -> None:
        """Take note of bytes, and of the time they were waited for."""
        left_s = self.left_s - waited_s + count / self.rate.bytes_per_s
        self.left_s = min(left_s, self.rate.grace_s)
