"""Nodes to which results go by C-STORE, and which hang somewhere on the way."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing

import pytest
from pydicom.uid import ExplicitVRLittleEndian

from service.gateway.deliver.dimse import DimseSender
from service.gateway.destinations import Destination
from service.gateway.dimse.timed_socket import LONGEST_PDU_BYTES
from service.gateway.server import silence_libraries
from service.gateway.work.analysis import TryAgain
from tests.gateway.fakes import Hanging
from tests.gateway.objects import make_object
from tests.gateway.raw_dimse import make_acceptance, make_p_data, make_pdu

ACCEPTS = make_acceptance(ExplicitVRLittleEndian.encode())
SMALL, LARGE = make_object(), make_object(side=3000)  # more than two sockets hold

HANGS = {
    "silent": (b"", SMALL),
    "in the head of its answer": (b"\2", SMALL),
    "in its answer": (make_pdu(2, b"x", 1000), SMALL),
    "in an answer of 4 GiB": (make_pdu(2, bytes(LONGEST_PDU_BYTES), 0xFFFFFFFF), SMALL),
    "once it has let us in": (ACCEPTS, SMALL),
    "before it has read": (ACCEPTS, LARGE),
    "in its confirmation": (ACCEPTS + make_pdu(4, b"x", 1000), SMALL),
    "with a confirmation of 4 GiB": (ACCEPTS + make_pdu(4, b"x", 0xFFFFFFFF), SMALL),
    "with no confirmation": (ACCEPTS + make_p_data(b"", 3, context=1), SMALL),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    silence_libraries()
    yield
    gc.collect()


# The library's thread ends with an exception if it is to send when an abort came before.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("says", "data"), HANGS.values(), ids=HANGS)
def test_node_that_hangs_is_given_up_for_now(says: bytes, data: bytes) -> None:
    """After the time for an answer, wherever it stops."""
    with closing(Hanging(says)) as node:
        to = Destination("pacs", "dimse", ae_title="PACS", host="127.0.0.1", port=node.port)
        assert isinstance(DimseSender(to, "CXRGATEWAY", 0.5).send([data]), TryAgain)
