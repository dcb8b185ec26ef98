"""What a stranger may send the gateway over HTTP: the service's bounds hold here, too."""

from __future__ import annotations

import socket
from collections.abc import Callable

import httpx

from service.multipart import build_related
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess

Start = Callable[..., GatewayProcess]
PATH = b"POST /dicomweb/studies HTTP/1.1\r\nHost: x\r\n"
RELATED = b'Content-Type: multipart/related; type="application/dicom"; boundary=x\r\n'
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
GRACE_S = 0.3


def talk(gateway: GatewayProcess, sent: bytes) -> bytes:
    """Send bytes and give the head of the answer."""
    url = httpx.URL(gateway.url)
    with socket.create_connection((url.host, url.port or 80), 30) as peer:
        peer.sendall(sent)
        return peer.recv(65_536).partition(b"\r\n\r\n")[0]


def test_doors_are_bounded(start_gateway: Start) -> None:
    """Trailers, slow bodies and upgrades, with and without a sound object."""
    gateway = start_gateway(body_grace_s=GRACE_S)
    trailers = b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(20_000))
    content_type, body = build_related([make_object("1.2.3.4")])
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Type: %b\r\n" % content_type.encode()
    told = {
        "trailers": talk(gateway, PATH + RELATED + CHUNKED + b"0\r\n" + trailers),
        "slow": talk(gateway, PATH + RELATED + b"Content-Length: 1000\r\n\r\n--x\r\n"),
        "upgrade": talk(gateway, PATH + upgrade + b"Content-Length: %d\r\n\r\n" % len(body) + body),
    }
    statuses = {name: head.split()[1] for name, head in told.items()}
    assert statuses == {"trailers": b"431", "slow": b"408", "upgrade": b"200"}
