"""The threads that analyse and deliver."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import httpx

from service.client.exchange import Retry, ServiceError
from service.gateway.errors import LeaseLostError, UnreadableObjectError
from service.gateway.header import read_header_of
from service.gateway.signals import Signals
from service.gateway.store.inbox import Inbox, Job, Result
from service.gateway.store.outbox import Delivery, Outbox
from service.gateway.store.spool import Spool
from service.gateway.work.analysis import UNREACHABLE, GiveUp, TryAgain
from service.gateway.work.pace import Analyses
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import log_event

POLL_S = 0.5  # for work that waits for its time, and for other gateways' work
AFTER_FAILURE_S = 2.0  # while the database is away
S_PER_H = 3600.0
MOST_DOUBLINGS = 30
MISSING = "bytes-missing"
MAX_REASON_CHARACTERS = 64  # of its column

BuildNotAnalysed = Callable[[bytes, str], bytes]
"""Makes the report that an object was not analysed, from its Part 10 file and the reason."""


class Sender(Protocol):
    """Sends objects to one archive."""

    def send(self, study_instance_uid: str, objects: list[bytes]) -> TryAgain | GiveUp | None:
        """Send Part 10 files; None if the archive has confirmed each of them."""

    def close(self) -> None:
        """Close the connections."""


def delay_s(retry: Retry, attempt: int, again: TryAgain) -> float:
    """Give the wait before the next try: exponential with jitter, and no less than asked for."""
    own_s = retry.delay_s(min(attempt, MOST_DOUBLINGS), None) or retry.longest_s
    return min(max(own_s, again.asked_s), retry.longest_s)


def failure_reason(error: Exception) -> str:
    """Name what went wrong in the gateway itself, as far as it is no secret: by its type."""
    return f"gateway-{type(error).__name__}"[:MAX_REASON_CHARACTERS]


def endless_retry(base_s: float, longest_s: float) -> Retry:
    """Give a retry that never ends by count; how long something is tried is bounded by time."""
    return Retry(attempts=MOST_DOUBLINGS + 1, base_s=base_s, longest_s=longest_s)


class Analyst:
    """Analyses one object after the other until told to stop. One thread each."""

    def __init__(
        self,
        inbox: Inbox,
        spool: Spool,
        analysis: Analyses,
        signals: Signals,
        metrics: GatewayMetrics,
        *,
        retry: Retry,
        longest_h: float,
        build_not_analysed: BuildNotAnalysed | None,
    ) -> None:
        self._inbox = inbox
        self._spool = spool
        self._analysis = analysis
        self._signals = signals
        self._metrics = metrics
        self._retry = retry
        self._longest_h = longest_h
        self._build_not_analysed = build_not_analysed

    def run(self) -> None:
        """Work until told to stop."""
        work_until_stopped(self._signals, self._signals.analysis.wait, self.work_once)

    def work_once(self) -> bool:
        """Analyse the next object; False if none is due."""
        job = self._inbox.lease()
        if job is None:
            return False
        try:
            self._attempt(job)
        except LeaseLostError:
            log_event(logging.WARNING, "lease lost", job=job.id)
        return True

    def _attempt(self, job: Job) -> None:
        try:
            self._work(job)
        except LeaseLostError:
            raise
        except Exception as error:  # of whatever was answered, or of the disk: it is an attempt
            log_event(logging.ERROR, "analysis failed", error, job=job.id)
            self._try_again(job, TryAgain(failure_reason(error)))

    def _work(self, job: Job) -> None:
        try:
            data = self._spool.read(job.file)
        except FileNotFoundError:
            self._bury(job, MISSING)
            return
        answer = self._analysis.analyse(data)
        if isinstance(answer, TryAgain):
            self._try_again(job, answer)
        elif isinstance(answer, GiveUp):
            if answer.is_of_object and self._build_not_analysed is not None:
                self._report(job, data, answer.reason)
            else:
                self._bury(job, answer.reason)
        else:
            self._finish(job, answer)

    def _try_again(self, job: Job, again: TryAgain) -> None:
        if self._signals.is_stopping:
            self._inbox.postpone(job, again.reason, 0.0)
            return
        if time.time() - job.begun_s > self._longest_h * S_PER_H:
            self._bury(job, again.reason)
            return
        wait_s = delay_s(self._retry, job.attempts + 1, again)
        self._inbox.postpone(job, again.reason, wait_s)
        self._metrics.analysis_ended("retried")
        log_event(
            logging.INFO,
            "analysis postponed",
            job=job.id,
            reason=again.reason,
            attempt=job.attempts + 1,
            wait_s=round(wait_s, 2),
        )

    def _report(self, job: Job, data: bytes, reason: str) -> None:
        assert self._build_not_analysed is not None
        try:
            report = self._build_not_analysed(data, reason)
        except (httpx.TransportError, ServiceError):
            self._try_again(job, TryAgain(UNREACHABLE))
            return
        except Exception as error:  # of whatever object: it must not stop the worker
            log_event(logging.ERROR, "report failed", error, job=job.id)
            self._bury(job, reason)
            return
        self._finish(job, [report], reason)

    def _finish(self, job: Job, objects: list[bytes], reason: str | None = None) -> None:
        made = []
        try:
            for data in objects:
                header = read_header_of(data)
                name = self._spool.write(data)
                made.append(Result(name, header.sop_instance_uid, header.sop_class_uid))
            self._inbox.analysed(job, made, reason)
        except UnreadableObjectError:
            self._remove(made)
            self._try_again(job, TryAgain("service-answer-not-understood"))
            return
        except (LeaseLostError, OSError):
            self._remove(made)
            raise
        self._metrics.analysis_ended("analysed" if reason is None else "reported")
        log_event(logging.INFO, "analysed", job=job.id, objects=len(made), reason=reason)
        self._signals.delivery.ring()

    def _remove(self, made: list[Result]) -> None:
        for one in made:
            self._spool.remove(one.file)

    def _bury(self, job: Job, reason: str) -> None:
        self._inbox.bury(job, reason)
        self._metrics.analysis_ended("dead")
        log_event(logging.WARNING, "analysis given up", job=job.id, reason=reason)
        self._signals.delivery.ring()  # those of its study need not wait for it any more


class Courier:
    """Delivers the results of jobs. Any thread."""

    def __init__(
        self,
        outbox: Outbox,
        spool: Spool,
        senders: dict[str, Sender],
        signals: Signals,
        metrics: GatewayMetrics,
        *,
        retry: Retry,
        longest_h: float,
        on_done: Callable[[int], object],
    ) -> None:
        self._outbox = outbox
        self._spool = spool
        self._senders = senders
        self._signals = signals
        self._metrics = metrics
        self._retry = retry
        self._longest_h = longest_h
        self._on_done = on_done

    def deliver(self, delivery: Delivery) -> None:
        """Make one delivery that was leased."""
        try:
            self._attempt(delivery)
        except LeaseLostError:
            log_event(logging.WARNING, "lease lost", job=delivery.job_id)

    def _attempt(self, delivery: Delivery) -> None:
        try:
            self._work(delivery)
        except LeaseLostError:
            raise
        except Exception as error:  # of whatever was answered, or of the disk: it is an attempt
            log_event(logging.ERROR, "delivery failed", error, job=delivery.job_id)
            self._try_again(delivery, TryAgain(failure_reason(error)))

    def _work(self, delivery: Delivery) -> None:
        sender = self._senders.get(delivery.destination)
        if sender is None:
            self._bury(delivery, "destination-not-configured")
            return
        try:
            objects = [self._spool.read(one.file) for one in delivery.results]
        except FileNotFoundError:
            self._bury(delivery, MISSING)
            return
        answer = sender.send(delivery.study_instance_uid, objects)
        if answer is None:
            self._delivered(delivery)
        elif isinstance(answer, GiveUp):
            self._bury(delivery, answer.reason)
        else:
            self._try_again(delivery, answer)

    def _try_again(self, delivery: Delivery, again: TryAgain) -> None:
        if self._signals.is_stopping:
            self._outbox.postpone(delivery, again.reason, 0.0)
        elif time.time() - delivery.begun_s > self._longest_h * S_PER_H:
            self._bury(delivery, again.reason)
        else:
            wait_s = delay_s(self._retry, delivery.attempts + 1, again)
            self._outbox.postpone(delivery, again.reason, wait_s)
            self._metrics.delivery_ended(delivery.destination, "retried")
            self._log(logging.INFO, "delivery postponed", delivery, again.reason, wait_s)

    def _delivered(self, delivery: Delivery) -> None:
        is_done = self._outbox.delivered(delivery)
        self._metrics.delivery_ended(delivery.destination, "delivered")
        self._log(logging.INFO, "delivered", delivery)
        if is_done:
            self._metrics.job_done(time.time() - delivery.received_s)
            self._on_done(delivery.job_seq)
        self._signals.delivery.ring()

    def _bury(self, delivery: Delivery, reason: str) -> None:
        self._outbox.bury(delivery, reason)
        self._metrics.delivery_ended(delivery.destination, "dead")
        self._log(logging.WARNING, "delivery given up", delivery, reason)
        self._signals.delivery.ring()

    @staticmethod
    def _log(
        level: int,
        event: str,
        delivery: Delivery,
        reason: str | None = None,
        wait_s: float | None = None,
    ) -> None:
        fields: dict[str, Any] = {"job": delivery.job_id, "destination": delivery.destination}
        if reason is not None:
            fields["reason"] = reason
        if wait_s is not None:
            fields["wait_s"] = round(wait_s, 2)
        log_event(level, event, **fields)


def work_until_stopped(
    signals: Signals, wait: Callable[[float], object], work_once: Callable[[], bool]
) -> None:
    """Work, and wait while there is nothing; whatever fails is logged and tried again.

    Args:
        signals: Say when to stop.
        wait: Waits for work, at most so many seconds.
        work_once: Gives whether there was any.
    """
    while not signals.is_stopping:
        try:
            if not work_once():
                wait(POLL_S)
        except Exception as error:  # the database or the disk is away; the lease runs out
            log_event(logging.ERROR, "worker failed", error)
            signals.wait_until_stopping(AFTER_FAILURE_S)
