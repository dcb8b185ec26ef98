"""Delivery as a task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.gateway.store.outbox import Delivery, Outbox
from service.gateway.store.spool import Spool
from service.gateway.work.loop import BYTES_MISSING, Failure, GiveUp
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import log_event


class Sender(Protocol):
    """Sends objects to one archive. Any thread."""

    def send(self, objects: list[bytes]) -> Failure | None:
        """Send Part 10 files; return None once all are confirmed."""

    def close(self) -> None:
        """Close the connections."""


class DeliveryTask:
    """Delivers the results of jobs. Any thread."""

    name = "delivery"

    def __init__(
        self,
        outbox: Outbox,
        spool: Spool,
        senders: Mapping[str, Sender],
        metrics: GatewayMetrics,
        on_done: Callable[[int], object],
    ) -> None:
        self._outbox = outbox
        self._spool = spool
        self._senders = senders
        self._metrics = metrics
        self._on_done = on_done
        self.lease = outbox.lease
        self.postpone = outbox.postpone

    def receiver(self, delivery: Delivery) -> str:
        """Return the destination's name."""
        return delivery.destination

    def describe(self, delivery: Delivery) -> dict[str, Any]:
        """Return job id and destination."""
        return {"job": delivery.job_id, "destination": delivery.destination}

    def do(self, delivery: Delivery) -> Failure | None:
        """Deliver once."""
        sender = self._senders.get(delivery.destination)
        if sender is None:
            return GiveUp("destination-not-configured")
        try:
            objects = [self._spool.read(one.file) for one in delivery.results]
        except FileNotFoundError:
            return GiveUp(BYTES_MISSING)
        failure = sender.send(objects)
        if failure is not None:
            return failure
        is_done = self._outbox.delivered(delivery)
        self.count(delivery, "delivered")
        log_event(logging.INFO, "delivered", **self.describe(delivery))
        if is_done:
            self._metrics.job_done(time.time() - delivery.received_s)
            self._on_done(delivery.job_seq)
        return None

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Give up."""
        self._outbox.dead_letter(delivery, reason)

    def count(self, delivery: Delivery, outcome: str) -> None:
        """Count an attempt."""
        self._metrics.delivery_ended(delivery.destination, outcome)
