"""Analysis as a task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import httpx

from service.client.exchange import ServiceError
from service.gateway.errors import LeaseLostError, UnreadableObjectError
from service.gateway.header import read_header_of
from service.gateway.signals import Signals
from service.gateway.store.inbox import Inbox, Job, Result
from service.gateway.store.spool import Spool
from service.gateway.work.analysis import UNREACHABLE, Analyses
from service.gateway.work.loop import BYTES_MISSING, Failure, GiveUp, TryAgain
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import log_event

BuildNotAnalysed: TypeAlias = Callable[[bytes, str], bytes]
"""Makes the report that an object was not analysed, from its Part 10 file and the reason."""


class AnalysisTask:
    """Has objects analysed and keeps the results. Any thread."""

    name = "analysis"

    def __init__(
        self,
        inbox: Inbox,
        spool: Spool,
        analysis: Analyses,
        signals: Signals,
        metrics: GatewayMetrics,
        build_not_analysed: BuildNotAnalysed | None = None,
    ) -> None:
        self._inbox = inbox
        self._spool = spool
        self._analysis = analysis
        self._signals = signals
        self._metrics = metrics
        self._build_not_analysed = build_not_analysed
        self.postpone = inbox.postpone

    def lease(self, full: Collection[str] = ()) -> Job | None:
        """Lease the oldest due job, if a slot is free."""
        return None if full else self._inbox.lease()

    def receiver(self, job: Job) -> str:
        """Return the service, the only receiver."""
        return "service"

    def describe(self, job: Job) -> dict[str, Any]:
        """Return the job's id."""
        return {"job": job.id}

    def do(self, job: Job) -> Failure | None:
        """Analyse one object."""
        try:
            data = self._spool.read(job.file)
        except FileNotFoundError:
            return GiveUp(BYTES_MISSING)
        answer = self._analysis.analyse(data)
        if isinstance(answer, TryAgain):
            return answer
        if isinstance(answer, GiveUp):
            if answer.is_of_object and self._build_not_analysed is not None:
                return self._report(job, data, answer)
            return answer
        return self._finish(job, answer)

    def dead_letter(self, job: Job, reason: str) -> None:
        """Give up; its study's deliveries stop waiting."""
        self._inbox.dead_letter(job, reason)
        self._signals.delivery.ring()

    def count(self, job: Job, outcome: str) -> None:
        """Count an attempt."""
        self._metrics.analysis_ended(outcome)

    def _report(self, job: Job, data: bytes, refusal: GiveUp) -> Failure | None:
        assert self._build_not_analysed is not None
        try:
            report = self._build_not_analysed(data, refusal.reason)
        except (httpx.TransportError, ServiceError):
            return TryAgain(UNREACHABLE)
        except Exception as error:  # depends on the object
            log_event(logging.ERROR, "report failed", error, job=job.id)
            return refusal
        return self._finish(job, [report], refusal.reason)

    def _finish(self, job: Job, objects: list[bytes], reason: str | None = None) -> Failure | None:
        made: list[Result] = []
        try:
            for data in objects:
                header = read_header_of(data)
                file = self._spool.write(data)
                made.append(Result(file, header.sop_instance_uid, header.sop_class_uid))
            self._inbox.analysed(job, made, reason)
        except (UnreadableObjectError, LeaseLostError, OSError) as error:
            for one in made:
                self._spool.remove(one.file)
            if isinstance(error, UnreadableObjectError):
                return TryAgain("service-answer-not-understood")
            raise
        self._metrics.analysis_ended("analysed" if reason is None else "reported")
        log_event(logging.INFO, "analysed", job=job.id, objects=len(made), reason=reason)
        self._signals.delivery.ring()
        return None
