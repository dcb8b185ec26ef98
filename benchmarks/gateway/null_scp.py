"""A C-STORE SCP that keeps nothing: what the DIMSE library alone costs.

``python -m benchmarks.gateway.null_scp PORT``
"""

from __future__ import annotations

import sys

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from benchmarks.gateway.receivers import AE_TITLE, HOST
from service.gateway.dimse.timed_socket import MAX_PDU_BYTES
from service.gateway.receive.dimse import SUCCESS


def serve(port: int) -> None:
    """Serve until killed."""
    entity = AE(AE_TITLE)
    entity.maximum_pdu_size = MAX_PDU_BYTES
    for context in AllStoragePresentationContexts:
        assert context.abstract_syntax is not None
        entity.add_supported_context(context.abstract_syntax, list(ALL_TRANSFER_SYNTAXES))
    entity.add_supported_context(Verification)
    entity.start_server((HOST, port), evt_handlers=[(evt.EVT_C_STORE, lambda event: SUCCESS)])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
