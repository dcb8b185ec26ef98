"""Association requests (PS3.8, 9.3.2), checked before they get a thread."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from pynetdicom.pdu import A_ASSOCIATE_RQ

from service.gateway.destinations import Peer

HEADER = struct.Struct(">BxI")  # PDU type, reserved, length of what follows
REQUEST = 0x01
PRESENTATION_CONTEXT, USER_INFORMATION = 0x20, 0x50
SUB_ITEMS_AT = {PRESENTATION_CONTEXT: 4, USER_INFORMATION: 0}  # after the item's own header
CALLED, CALLING = slice(10, 26), slice(26, 42)  # AE titles

LONGEST_REQUEST_BYTES = 262_144  # 128 contexts of 43 syntaxes, the most there are, take 136,000
MOST_ITEMS = 6144  # those contexts have 5,635; decoding this many takes 0.1 s

Rejection = tuple[int, int, int]
"""Result, source and reason of an A-ASSOCIATE-RJ (PS3.8, 9.3.4)."""

CALLING_UNKNOWN: Rejection = (1, 1, 3)
CALLED_UNKNOWN: Rejection = (1, 1, 7)
TOO_MANY: Rejection = (2, 3, 2)  # for now, by the provider: local limit exceeded

ABORT = bytes.fromhex("07 00 00000004 00 00 02 06")
"""A-ABORT by the provider: invalid PDU parameter value (PS3.8, 9.3.8)."""


class MalformedRequestError(ValueError):
    """The association request is malformed or too large."""


def read_header(header: bytes | bytearray) -> int:
    """Return the PDU length after its first six bytes."""
    kind, length = HEADER.unpack(header)
    if kind != REQUEST or length > LONGEST_REQUEST_BYTES:
        raise MalformedRequestError
    return int(length)


def decode_request(pdu: bytes) -> A_ASSOCIATE_RQ:
    """Decode an association request; raise MalformedRequestError."""
    try:
        if sum(1 for _ in _items(pdu)) > MOST_ITEMS:
            raise MalformedRequestError
        request = A_ASSOCIATE_RQ()
        request.decode(pdu)
        request.to_primitive()
    except Exception as error:  # depends on what was sent
        raise MalformedRequestError from error
    return request


def judge_request(
    pdu: bytes, address: str, ae_title: str, peers: Sequence[Peer]
) -> Rejection | None:
    """Return the reason for rejection, if any."""
    calling = _title(pdu[CALLING])
    if peers and not any(peer.ae_title == calling and peer.host in ("", address) for peer in peers):
        return CALLING_UNKNOWN
    return None if _title(pdu[CALLED]) == ae_title.strip() else CALLED_UNKNOWN


def encode_rejection(rejection: Rejection) -> bytes:
    """Encode an A-ASSOCIATE-RJ."""
    return struct.pack(">BxIxBBB", 0x03, 4, *rejection)


def _title(field: bytes) -> str:
    return field.decode("ascii", "replace").strip()


def _items(pdu: bytes) -> Iterator[int]:
    for kind, begin, end in _walk(pdu, 74, len(pdu)):
        yield kind
        if kind in SUB_ITEMS_AT:
            for sub_kind, _, _ in _walk(pdu, begin + SUB_ITEMS_AT[kind], end):
                yield sub_kind


def _walk(pdu: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    while at < end:
        kind, length = struct.unpack_from(">BxH", pdu, at)
        yield kind, at + 4, at + 4 + length
        at += 4 + length
