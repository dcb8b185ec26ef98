"""Connections to the port of DIMSE that never become associations, or never end (PS3.8)."""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.connection import Target
from benchmarks.siege.arena import Arena
from benchmarks.siege.attacked import Attacked
from benchmarks.siege.clients import SOURCES, closing_s, connect, converse
from benchmarks.siege.measure import threads_of
from benchmarks.siege.row import MIB, Bars, Row, Sighting
from benchmarks.siege.watch import watching
from benchmarks.siege.watchers import AE_TITLE, Honest

FAMILY = "DIMSE"
SILENT = 200
SILENT_S = 40.0
"""After which one without an association must be closed: the timeout of ACSE, 30 s, and some."""

THREADS = 64
WATCHED_S = 8.0
ENDLESS = 0xFFFFFFFF
POURED_BYTES = 512 * MIB
ASSOCIATE_RQ, P_DATA_TF = 0x01, 0x04
IMPLICIT, VERIFICATION = "1.2.840.10008.1.2", "1.2.840.10008.1.1"
USUAL = Bars(memory_mib=64, slow_s=2.0)


def attack_tls(arena: Arena) -> Sighting:
    """Open one connection to the TLS port and say nothing."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        certificate, key = make_certificate(folder)
        tls = {"dimse_tls_certificate": str(certificate), "dimse_tls_key": str(key)}
        gateway = stack.enter_context(arena.gateway(folder, **tls))
        honest = (Honest("echo", gateway.dimse_port, ca=str(certificate)),)
        seen = stack.enter_context(watching(gateway, honest, USUAL))
        stack.enter_context(connect(_dimse(gateway), SOURCES[0]))
        time.sleep(WATCHED_S)
        seen.answers = ["1 silent connection"]
    return seen


def attack_silent(arena: Arena) -> Sighting:
    """Open many connections and say nothing."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        gateway = stack.enter_context(arena.gateway(folder))
        honest = (Honest("echo", gateway.dimse_port),)
        seen = stack.enter_context(watching(gateway, honest, USUAL))
        before = threads_of(gateway.pid)
        sources = [SOURCES[number % len(SOURCES)] for number in range(SILENT)]
        wires = [stack.enter_context(connect(_dimse(gateway), one)) for one in sources]
        time.sleep(2.0)
        threads = threads_of(gateway.pid) - before
        closed_s = closing_s(wires, SILENT_S)
        seen.answers = [f"{sum(s is not None for s in closed_s)} of {SILENT} closed"]
        seen.notes.append(
            f"{threads} threads more; last closed after {max(map(_or_never, closed_s)):.0f} s"
        )
        seen.facts[f"at most {THREADS} threads more"] = threads <= THREADS
        seen.facts[f"all closed within {SILENT_S:.0f} s"] = None not in closed_s
    return seen


def attack_pdu(arena: Arena) -> Sighting:
    """Declare PDUs of 4 GiB, before and in an association, and send as much as is taken."""
    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        gateway = stack.enter_context(arena.gateway(folder))
        honest = (Honest("echo", gateway.dimse_port),)
        seen = stack.enter_context(watching(gateway, honest, USUAL))
        openings: dict[str, Callable[[Attacked], socket.socket]] = {
            "before an association": lambda server: connect(_dimse(server), SOURCES[0]),
            "in an association": _associate,
        }
        for name, opened in openings.items():
            kind = ASSOCIATE_RQ if opened is not _associate else P_DATA_TF
            with opened(gateway) as wire:
                reply = converse(wire, _endless_pdu(kind), 20.0, to_the_end=True)
            seen.sent_bytes = max(seen.sent_bytes, reply.sent_bytes)
            seen.answers.append(f"{name}: {reply.ending} after {reply.sent_bytes / MIB:.0f} MiB")
            seen.facts[f"cut off {name}"] = reply.ending == "closed"
    return seen


def _endless_pdu(kind: int) -> Iterator[bytes]:
    yield struct.pack(">BBI", kind, 0, ENDLESS)
    piece = bytes(MIB)
    for _ in range(POURED_BYTES // MIB):
        yield piece


def _associate(server: Attacked) -> socket.socket:
    """Open an association for C-ECHO, byte by byte (PS3.8, 9.3.2)."""
    wire = connect(_dimse(server), SOURCES[0])
    context = b"\x01\0\0\0" + _item(0x30, VERIFICATION.encode()) + _item(0x40, IMPLICIT.encode())
    user = _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.826.0.1.3680043.10.1450.9")
    fields = (
        struct.pack(">HH", 1, 0)
        + AE_TITLE.encode().ljust(16)
        + b"SIEGE".ljust(16)
        + bytes(32)
        + _item(0x10, b"1.2.840.10008.3.1.1.1")
        + _item(0x20, context)
        + _item(0x50, user)
    )
    wire.sendall(struct.pack(">BBI", ASSOCIATE_RQ, 0, len(fields)) + fields)
    wire.recv(1 << 16)
    return wire


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def _dimse(server: Attacked) -> Target:
    return Target(server.target.host, server.dimse_port)


def _or_never(closed_s: float | None) -> float:
    return SILENT_S if closed_s is None else closed_s


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for loopback, signed by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


ROWS = (
    Row("tls-silent", FAMILY, "DIMSE over TLS: one silent connection", attack_tls, USUAL),
    Row("silent-connections", FAMILY, f"{SILENT} silent connections", attack_silent, USUAL),
    Row("endless-pdu", FAMILY, "PDUs that declare 4 GiB", attack_pdu, USUAL),
)
