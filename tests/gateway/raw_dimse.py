"""PDUs of the DICOM upper layer protocol, byte by byte (PS3.8, 9.3): also those nobody may send."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

IMPLICIT = b"1.2.840.10008.1.2"
VERIFICATION = b"1.2.840.10008.1.1"
CR = b"1.2.840.10008.5.1.4.1.1.1"
COMMAND, LAST = 1, 2
C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030
A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ABORT = 2, 3, 7


def make_item(kind: int, data: bytes) -> bytes:
    """Make an item of an association request."""
    return struct.pack(">BxH", kind, len(data)) + data


def make_context(number: int, abstract: bytes = VERIFICATION, syntaxes: int = 1) -> bytes:
    """Make a presentation context with one transfer syntax, so many times over."""
    proposed = make_item(0x30, abstract) + make_item(0x40, IMPLICIT) * syntaxes
    return make_item(0x20, bytes([number, 0, 0, 0]) + proposed)


USER = make_item(0x50, make_item(0x51, struct.pack(">I", 16384)) + make_item(0x52, b"1.2.3"))
CONTEXTS = make_context(1) + make_context(3, CR)


def make_request(
    contexts: bytes = CONTEXTS,
    user: bytes = USER,
    *,
    called: str = "CXRGATEWAY",
    calling: str = "CR1",
) -> bytes:
    """Make an A-ASSOCIATE-RQ."""
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    application = make_item(0x10, b"1.2.840.10008.3.1.1.1")
    return make_pdu(1, struct.pack(">Hxx", 1) + titles + bytes(32) + application + contexts + user)


def make_acceptance(syntax: bytes) -> bytes:
    """Make an A-ASSOCIATE-AC that accepts context 1."""
    accepted = make_item(0x21, bytes([1, 0, 0, 0]) + make_item(0x40, syntax))
    return make_pdu(2, make_request(accepted)[6:])


def make_pdu(kind: int, data: bytes, length: int | None = None) -> bytes:
    """Make a PDU, of a length it does not have if that is given."""
    return struct.pack(">BxI", kind, len(data) if length is None else length) + data


def make_p_data(data: bytes, control: int = 0, context: int = 3) -> bytes:
    """Make a P-DATA-TF of one fragment."""
    return make_pdu(4, struct.pack(">IBB", len(data) + 2, context, control) + data)


def make_command(field: int, *, has_data: bool, sop_class: bytes = CR) -> bytes:
    """Make the command set of a request."""
    uid = sop_class + b"\0" * (len(sop_class) % 2)
    parts = [
        struct.pack("<HHI", 0, 0x0002, len(uid)) + uid,
        struct.pack("<HHIH", 0, 0x0100, 2, field),
        struct.pack("<HHIH", 0, 0x0110, 2, 1),
        struct.pack("<HHIH", 0, 0x0700, 2, 0),
        struct.pack("<HHIH", 0, 0x0800, 2, 1 if has_data else 0x0101),
        struct.pack("<HHI", 0, 0x1000, 6) + b"1.2.3\0",
    ]
    return b"".join(parts)


def connect(port: int, *, source: str = "127.0.0.1") -> socket.socket:
    """Connect, and wait at most ten seconds for anything."""
    return socket.create_connection(("127.0.0.1", port), 10, (source, 0))


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Read one PDU: its type and what follows the head; type 0 for the end of the connection."""
    head = _read(connection, 6)
    if len(head) < 6:
        return 0, b""
    kind, length = struct.unpack(">BxI", head)
    return kind, _read(connection, length)


def associate(port: int, **titles: str) -> socket.socket:
    """Open an association with contexts 1 (verification) and 3 (computed radiography)."""
    connection = connect(port)
    connection.sendall(make_request(**titles))
    assert read_pdu(connection)[0] == A_ASSOCIATE_AC
    return connection


def echo(port: int) -> bool:
    """Whether somebody who speaks DICOM is answered."""
    with associate(port) as connection:
        command = make_command(C_ECHO_RQ, has_data=False, sop_class=VERIFICATION)
        connection.sendall(make_p_data(command, COMMAND | LAST, context=1))
        return read_pdu(connection)[0] == 4


def send_until_cut(connection: socket.socket, piece: bytes, most_bytes: int) -> int:
    """Send one thing again and again; give the bytes that went before the other side hung up."""
    sent = 0
    try:
        while sent < most_bytes:
            connection.sendall(piece)
            sent += len(piece)
    except OSError:
        pass
    return sent


def _read(connection: socket.socket, count: int) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while len(received) < count and (piece := connection.recv(count - len(received))):
            received += piece
    return received
