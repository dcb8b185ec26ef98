"""Association requests: what is decoded, what is malformed, and who is rejected."""

from __future__ import annotations

import struct
import time

import pytest

from service.gateway.destinations import parse_peers
from service.gateway.dimse.association_request import (
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    LONGEST_REQUEST_BYTES,
    MalformedRequestError,
    decode_request,
    encode_rejection,
    judge_request,
)
from tests.gateway.raw_dimse import make_context, make_item, make_request

pytestmark = pytest.mark.xdist_group("waits")

ALL_THERE_IS = b"".join(make_context(2 * i + 1, syntaxes=43) for i in range(128))


@pytest.mark.parametrize(
    "contexts",
    [make_context(1), make_context(1, syntaxes=43), ALL_THERE_IS],
    ids=["one", "all syntaxes", "all syntaxes of all classes"],
)
def test_request_of_any_honest_size_is_decoded(contexts: bytes) -> None:
    """128 contexts, which is all there are numbers for, with every transfer syntax known."""
    request = decode_request(make_request(contexts))
    assert request.presentation_context
    assert len(make_request(contexts)) < LONGEST_REQUEST_BYTES


FILL = 60_000

MALFORMED = {
    "cut off": make_request()[:-3],
    "item longer than the rest": make_request(user=struct.pack(">BxH", 0x50, 9999)),
    "unknown item": make_request(make_item(0x77, b"")),
    "number of a context even": make_request(make_context(2)),
    "text in a UID": make_request(make_context(1, b"\xff\xfe\xfd")),
    "too many empty items": make_request(make_item(0x10, b"") * FILL),
    "too many contexts": make_request(make_context(1) * 5000),
    "too many syntaxes": make_request(make_context(1, syntaxes=2500) * 4),
    "too many syntaxes, empty": make_request(
        make_item(0x20, bytes(4) + make_item(0x40, b"") * 9999)
    ),
    "too many roles": make_request(
        user=make_item(0x50, make_item(0x54, struct.pack(">H", 3) + b"1.2\1\1") * 5000)
        + make_item(0x50, make_item(0x55, b"") * 9999)
    ),
    "nothing": make_request()[:6],
}


@pytest.mark.parametrize("pdu", MALFORMED.values(), ids=MALFORMED)
def test_malformed_request_is_told_so_at_little_cost(pdu: bytes) -> None:
    """In one way, whatever the library would have said of it, and within 0.1 s of CPU."""
    begun_s = time.process_time()
    with pytest.raises(MalformedRequestError):
        decode_request(pdu)
    assert time.process_time() - begun_s < 0.5  # five times the measured, for a busy machine


@pytest.mark.parametrize(
    ("titles", "address", "rejection"),
    [
        ({}, "10.0.0.5", None),
        ({"calling": "CR2"}, "10.0.0.5", None),
        ({"calling": "CR2"}, "10.0.0.6", CALLING_UNKNOWN),
        ({"calling": "CR3"}, "10.0.0.5", CALLING_UNKNOWN),
        ({"called": "OTHER"}, "10.0.0.5", CALLED_UNKNOWN),
    ],
)
def test_who_may_come_in(titles: dict[str, str], address: str, rejection: object) -> None:
    """Calling title, its address, and called title, in this order."""
    peers = parse_peers("CR1 CR2@10.0.0.5")
    assert judge_request(make_request(**titles), address, "CXRGATEWAY", peers) == rejection


def test_everybody_may_if_nobody_is_named() -> None:
    """Without peers only the called title has to be right."""
    assert judge_request(make_request(calling="ANY"), "10.0.0.5", "CXRGATEWAY", ()) is None


def test_rejection_is_encoded() -> None:
    """As of PS3.8, 9.3.4."""
    assert encode_rejection(CALLED_UNKNOWN) == bytes.fromhex("0300 00000004 00 01 01 07")
