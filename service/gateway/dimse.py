"""C-STORE, C-ECHO and storage commitment, as their provider (PS3.4, Annexes A, B and J)."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from copy import copy
from typing import Any, cast

from pynetdicom import (
    AE,
    ALL_TRANSFER_SYNTAXES,
    DEFAULT_TRANSFER_SYNTAXES,
    AllStoragePresentationContexts,
    evt,
)
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    Verification,
)
from sqlalchemy.exc import SQLAlchemyError

from service.errors import PayloadTooLargeError, StartupError
from service.gateway.commitment import Commitment
from service.gateway.destinations import Peer
from service.gateway.dimse_receiving import ReceivedDataSet, SpoolingProvider
from service.gateway.errors import InsufficientStorageError, UnreadableObjectError
from service.gateway.intake import Intake
from service.gateway.settings import GatewaySettings
from service.gateway.stow_answer import CANNOT_UNDERSTAND, OUT_OF_RESOURCES

CHANNEL = "dimse"
SUCCESS = 0x0000
MISMATCH = 0xA900

MAX_PDU_BYTES = 262_144
ACSE_TIMEOUT_S = 30
NETWORK_TIMEOUT_S = 120

REJECT_CALLING = (0x01, 0x01, 0x03)
"""Rejected for good, by the service user: calling AE title not recognised (PS3.8, 9.3.4)."""


class DimseServer:
    """Takes objects by DIMSE. Has threads of its own.

    Args:
        settings: The operator's.
        intake: Where objects go.
        commitment: Answers requests to commit to them.
    """

    def __init__(self, settings: GatewaySettings, intake: Intake, commitment: Commitment) -> None:
        self._intake = intake
        self._commitment = commitment
        self._peers = settings.peer_list
        self._settings = settings
        entity = AE(settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = sorted({peer.ae_title for peer in self._peers})
        entity.maximum_associations = settings.dimse_max_associations
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.acse_timeout = ACSE_TIMEOUT_S
        entity.network_timeout = entity.dimse_timeout = NETWORK_TIMEOUT_S
        self._entity = entity
        self.port = 0

    def start(self) -> None:
        """Listen.

        Raises:
            StartupError: The port cannot be had, or a certificate not be read.
        """
        settings = self._settings
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_CONN_CLOSE, self._on_close),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._commitment.on_action),
        ]
        try:
            server = self._entity.start_server(
                (settings.host, settings.dimse_port),
                block=False,
                contexts=_contexts(),
                evt_handlers=handlers,
                ssl_context=_tls(settings),
            )
        except ssl.SSLError:
            raise StartupError("The DIMSE certificate, key or authorities are no PEM.") from None
        except OSError as error:
            raise StartupError(
                f"Cannot listen for DIMSE on {settings.host}:{settings.dimse_port}: "
                f"{error.strerror}."
            ) from None
        assert server is not None
        assert server.socket is not None
        self.port = server.socket.getsockname()[1]

    def stop(self) -> None:
        """Abort what is being sent: who was not told of success sends again."""
        self._entity.shutdown()

    def _on_open(self, event: evt.Event) -> None:
        event.assoc.dimse = SpoolingProvider(
            event.assoc, self._intake.spool, self._settings.max_instance_bytes
        )

    def _on_close(self, event: evt.Event) -> None:
        cast("SpoolingProvider", event.assoc.dimse).close()

    def _on_requested(self, event: evt.Event) -> None:
        request = event.assoc.requestor.primitive
        assert request is not None
        calling = str(request.calling_ae_title).strip()
        if not is_allowed(self._peers, calling, str(event.assoc.requestor.address)):
            event.assoc.acse.send_reject(*REJECT_CALLING)
            event.assoc.kill()

    def _on_store(self, event: evt.Event) -> int:
        try:
            return self._store(event)
        except InsufficientStorageError:
            return OUT_OF_RESOURCES
        except (UnreadableObjectError, PayloadTooLargeError):
            return CANNOT_UNDERSTAND
        except (OSError, SQLAlchemyError):  # logged where it happened; the sender shall try again
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


class SharedContext(PresentationContext):
    """A presentation context of which an association needs no deep copy.

    pynetdicom copies all contexts for each association, which takes most of the time of opening
    one. Negotiation reads them.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedContext:
        return copy(self)


def _contexts() -> list[PresentationContext]:
    classes = [one.abstract_syntax for one in AllStoragePresentationContexts]
    syntaxes = {one: list(ALL_TRANSFER_SYNTAXES) for one in classes}
    syntaxes |= dict.fromkeys([Verification, StorageCommitmentPushModel], DEFAULT_TRANSFER_SYNTAXES)
    contexts: list[PresentationContext] = []
    for sop_class, allowed in syntaxes.items():
        context = SharedContext()
        context.abstract_syntax, context.transfer_syntax = sop_class, list(allowed)
        contexts.append(context)
    return contexts


def is_allowed(peers: Sequence[Peer], ae_title: str, address: str) -> bool:
    """Whether somebody may send: everybody if no peer is named."""
    return not peers or any(
        peer.ae_title == ae_title and peer.host in ("", address) for peer in peers
    )


def _tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    if not settings.dimse_tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.dimse_tls_certificate, settings.dimse_tls_key)
    if settings.dimse_tls_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(settings.dimse_tls_ca)
    return context
