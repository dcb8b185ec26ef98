"""Intake of objects from every channel."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cxr.errors import CxrError
from service.dicom.pixels import digest_pixels
from service.gateway.header import ObjectHeader, is_analysed, read_header
from service.gateway.signals import Signals
from service.gateway.store.inbox import Inbox
from service.gateway.store.spool import Spool, Staged
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import log_event

Pixels: TypeAlias = Literal["same", "other", "unknown"]
"""How the pixels of two objects with one UID compare; unknown if the bytes of one are gone."""

Outcome: TypeAlias = Literal["stored", "known", "ignored"]


@dataclass(frozen=True)
class Taken:
    """An object's outcome."""

    header: ObjectHeader
    outcome: Outcome
    job_id: str | None


class Intake:
    """Takes objects into the inbox. Any thread."""

    def __init__(
        self, inbox: Inbox, spool: Spool, signals: Signals, metrics: GatewayMetrics
    ) -> None:
        self._inbox = inbox
        self._signals = signals
        self._metrics = metrics
        self.spool = spool

    def take(self, staged: Staged, channel: str, digest: str = "") -> Taken:
        """Store an object durably, or refuse, count and log it.

        Raises:
            UnreadableObjectError: No readable header.
            InsufficientStorageError: The disk is too full.
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
        """Count and log a rejected object."""
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
            self._report_same_uid(job_id, header)
            self._signals.analysis.ring()
        return Taken(header, "stored" if is_new else "known", job_id)

    def _report_same_uid(self, job_id: str, header: ObjectHeader) -> None:
        try:
            known = self._inbox.contents(header.sop_instance_uid)
            for other in known:
                if other.digest != header.digest:
                    [own] = [one for one in known if one.job_id == job_id]
                    pixels = self._compare(own.file, other.file)
                    self._metrics.uid_came_again(pixels)
                    level = logging.INFO if pixels == "same" else logging.WARNING
                    log_event(
                        level,
                        "other content of a known uid",
                        job=job_id,
                        other=other.job_id,
                        pixels=pixels,
                    )
        except Exception as error:  # the object is stored, and its sender must be told so
            log_event(logging.ERROR, "namesakes not told", error, job=job_id)

    def _compare(self, file: str, other: str) -> Pixels:
        try:
            one, another = (digest_pixels(self.spool.read(name)) for name in (file, other))
        except FileNotFoundError:
            return "unknown"
        return "same" if one == another else "other"
