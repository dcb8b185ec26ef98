"""What every way in does with an object."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cxr.errors import CxrError
from service.gateway.header import ObjectHeader, read_header
from service.gateway.inbox import Inbox
from service.gateway.own import is_analysed
from service.gateway.signals import Signals
from service.gateway.spool import Spool, Staged
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import log_event

Outcome: TypeAlias = Literal["stored", "known", "ignored"]


@dataclass(frozen=True)
class Taken:
    """What became of an object.

    Attributes:
        header: What it says of itself.
        outcome: ``stored``, ``known`` for a repeat, ``ignored`` for what is not analysed.
        job_id: Its job; None if it is ignored.
    """

    header: ObjectHeader
    outcome: Outcome
    job_id: str | None


class Intake:
    """Takes objects into the inbox. Any thread.

    Args:
        inbox: Where they go.
        spool: Where their bytes go.
        signals: Woken when there is work.
        metrics: Counts them.
    """

    def __init__(
        self, inbox: Inbox, spool: Spool, signals: Signals, metrics: GatewayMetrics
    ) -> None:
        self._inbox = inbox
        self._signals = signals
        self._metrics = metrics
        self.spool = spool

    def take(self, staged: Staged, channel: str, digest: str = "") -> Taken:
        """Keep an object, durably, before its sender hears of success.

        Args:
            staged: The Part 10 file.
            channel: ``dimse``, ``stow`` or ``wado``.
            digest: The object's, where it was made while the object came; else it is made here.

        Raises:
            UnreadableObjectError: It is no DICOM that can be filed.
            InsufficientStorageError: There is no room.
            OSError: The disk does not take it.
            SQLAlchemyError: The database does not take it.
        """
        try:
            taken = self._take(staged, channel, digest)
        except Exception as error:
            self.refuse(channel, error)
            raise
        self._metrics.object_taken(channel, taken.outcome)
        log_event(
            logging.INFO,
            "object taken",
            channel=channel,
            outcome=taken.outcome,
            job=taken.job_id,
            size_bytes=staged.size_bytes,
        )
        return taken

    def refuse(self, channel: str, error: Exception) -> None:
        """Count and log an object that is not taken."""
        self._metrics.object_taken(channel, "refused")
        known = isinstance(error, CxrError)
        log_event(
            logging.WARNING if known else logging.ERROR,
            "object refused",
            None if known else error,
            channel=channel,
            reason=type(error).__name__,
        )

    def _take(self, staged: Staged, channel: str, digest: str) -> Taken:
        self.spool.verify_room()
        with staged.reading() as file:
            header = read_header(file, digest)
        if not is_analysed(header):
            return Taken(header, "ignored", None)
        job_id, is_new = self._inbox.receive(staged, header, channel)
        if job_id is None:
            return Taken(header, "ignored", None)
        if is_new:
            self._signals.analysis.ring()
        return Taken(header, "stored" if is_new else "known", job_id)
