"""The DIMSE server (PS3.4, Annexes A, B and J)."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.transport import AssociationServer, RequestHandler

from service.errors import PayloadTooLargeError, StartupError
from service.gateway.deliver.stow_answer import CANNOT_UNDERSTAND, OUT_OF_RESOURCES
from service.gateway.dimse.admission import AssociationAdmission
from service.gateway.dimse.association import bounded
from service.gateway.dimse.association_request import (
    TOO_MANY,
    decode_request,
    encode_rejection,
    judge_request,
)
from service.gateway.dimse.contexts import build_contexts
from service.gateway.dimse.timed_socket import MAX_PDU_BYTES, shut_down
from service.gateway.errors import InsufficientStorageError, UnreadableObjectError
from service.gateway.receive.commitment import Commitment
from service.gateway.receive.intake import Intake
from service.gateway.receive.to_disk import ReceivedDataSet, SpoolingProvider
from service.gateway.settings import GatewaySettings
from service.gateway.store.database import DatabaseError
from service.telemetry.gateway import GatewayMetrics

CHANNEL = "dimse"
SUCCESS = 0x0000
MISMATCH = 0xA900

ACSE_TIMEOUT_S = 5  # the request has arrived before an association begins
NETWORK_TIMEOUT_S = 120
ABORT_S = 1.0  # for the aborts of associations when stopping


class DimseServer:
    """Receives objects by DIMSE on its own threads."""

    def __init__(
        self,
        settings: GatewaySettings,
        intake: Intake,
        commitment: Commitment,
        metrics: GatewayMetrics,
    ) -> None:
        self._intake = intake
        self._commitment = commitment
        self._metrics = metrics
        self._peers = settings.dimse_peers
        self._settings = settings
        entity = AE(settings.ae_title)
        entity.maximum_associations = settings.dimse_max_associations
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.acse_timeout = ACSE_TIMEOUT_S
        entity.network_timeout = entity.dimse_timeout = NETWORK_TIMEOUT_S
        self._entity = entity
        self._server: AssociationServer | None = None
        self._admission: AssociationAdmission | None = None
        self.port = 0

    def start(self) -> None:
        """Listen."""
        settings = self._settings
        handlers: list[Any] = [
            *bounded(NETWORK_TIMEOUT_S),
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_CONN_CLOSE, self._on_close),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._commitment.on_action),
        ]
        try:
            tls = _tls(settings)
            server = self._entity.make_server(
                (settings.host, settings.dimse_port),
                contexts=build_contexts(),
                evt_handlers=handlers,
            )
        except ssl.SSLError:
            raise StartupError("The DIMSE certificate, key or CA file is not valid PEM.") from None
        except OSError as error:
            raise StartupError(
                f"Cannot listen for DIMSE on {settings.host}:{settings.dimse_port}: "
                f"{error.strerror}."
            ) from None
        assert server.socket is not None
        self.port = server.socket.getsockname()[1]
        self._server = server
        self._admission = AssociationAdmission(
            server.socket,
            tls,
            self._admit,
            most=settings.dimse_max_waiting,
            timeout_s=settings.dimse_request_s,
            on_closed=self._metrics.connection_judged,
        )
        threading.Thread(target=self._admission.run, name="admission", daemon=True).start()

    def stop(self) -> None:
        """Abort associations; senders without success resend."""
        if self._server is None or self._admission is None:
            return
        self._admission.close()
        self._server.server_close()
        for association in self._server.active_associations:
            association.abort(block=False)
        until_s = time.monotonic() + ABORT_S
        for association in self._server.active_associations:
            association.join(max(0.0, until_s - time.monotonic()))
        for association in self._server.active_associations:  # whose peers do not respond
            shut_down(association)

    def _admit(self, connection: socket.socket, address: tuple[str, int], pdu: bytes) -> None:
        request = decode_request(pdu)
        assert self._server is not None
        rejection = judge_request(pdu, address[0], self._settings.ae_title, self._peers)
        if len(self._server.active_associations) >= self._settings.dimse_max_associations:
            rejection = rejection or TOO_MANY
        self._metrics.connection_judged("accepted" if rejection is None else "rejected")
        if rejection is None:
            connection.setblocking(True)
            _AdmittedHandler(request, connection, address, self._server)
        else:
            with connection:
                connection.send(encode_rejection(rejection))

    def _on_open(self, event: evt.Event) -> None:
        event.assoc.dimse = SpoolingProvider(
            event.assoc, self._intake.spool, self._settings.max_instance_bytes
        )

    def _on_close(self, event: evt.Event) -> None:
        cast("SpoolingProvider", event.assoc.dimse).close()

    def _on_store(self, event: evt.Event) -> int:
        try:
            return self._store(event)
        except InsufficientStorageError:
            return OUT_OF_RESOURCES
        except (UnreadableObjectError, PayloadTooLargeError):
            return CANNOT_UNDERSTAND
        except (OSError, DatabaseError):  # logged before; the sender tries again
            return OUT_OF_RESOURCES

    def _store(self, event: evt.Event) -> int:
        request = cast("C_STORE", event.request)
        try:
            staged, digest = cast("ReceivedDataSet", request.DataSet).finish()
        except Exception as error:
            self._intake.refuse(CHANNEL, error)
            raise
        with staged:
            taken = self._intake.take(staged, CHANNEL, digest)
        is_same = taken.header.sop_instance_uid == str(request.AffectedSOPInstanceUID)
        return SUCCESS if is_same else MISMATCH


class _AdmittedHandler(RequestHandler):
    def __init__(
        self,
        request: A_ASSOCIATE_RQ,
        connection: socket.socket,
        address: tuple[str, int],
        server: AssociationServer,
    ) -> None:
        self._request_pdu = request
        super().__init__(connection, address, server)

    def handle(self) -> None:
        association = self._create_association()
        association.dul._recv_pdu.put(self._request_pdu)
        association.dul.event_queue.put("Evt6")  # A-ASSOCIATE-RQ received (PS3.8, 9.2.3)
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()


def _tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    if not settings.dimse_tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.dimse_tls_certificate, settings.dimse_tls_key)
    if settings.dimse_tls_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(settings.dimse_tls_ca)
    return context
