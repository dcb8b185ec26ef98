"""Archives and DIMSE peers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
"""PS3.5, 6.2: 16 characters without backslash."""

DIMSE_PORT = 104


@dataclass(frozen=True)
class Destination:
    """An archive: a DICOMweb URL, or a DIMSE node's AE title, host and port."""

    name: str
    kind: Literal["stow", "dimse"]
    url: str = field(default="", repr=False)
    ae_title: str = ""
    host: str = ""
    port: int = 0


def parse_destinations(text: str) -> tuple[Destination, ...]:
    """Parse ``pacs=https://host/dicom-web archive=dicom://AETITLE@host:104``.

    Raises:
        ValueError: An entry is malformed or a name repeated.
    """
    found = tuple(_parse_one(entry) for entry in text.split())
    if len({one.name for one in found}) < len(found):
        raise ValueError("two destinations have the same name")
    return found


def _parse_one(entry: str) -> Destination:
    name, _, url = entry.partition("=")
    if not NAME.fullmatch(name):
        raise ValueError("a destination is written name=url; names are letters, digits, - and _")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"the address of destination {name} is malformed") from None
    if parts.scheme in ("http", "https") and host:
        return Destination(name, "stow", url=url.rstrip("/"))
    if parts.scheme == "dicom" and host and parts.username and AE_TITLE.fullmatch(parts.username):
        return Destination(
            name, "dimse", ae_title=parts.username, host=host, port=port or DIMSE_PORT
        )
    raise ValueError(f"destination {name} is neither https://host/path nor dicom://AETITLE@host")


def is_http_address(url: str) -> bool:
    """Whether a URL is HTTP(S) with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        return False


def parse_token_files(text: str, destinations: tuple[Destination, ...]) -> dict[str, Path]:
    """Parse ``pacs=/run/secrets/pacs archive=/run/secrets/archive``, or one common file."""
    entries = [entry.partition("=") for entry in text.split()]
    if len(entries) == 1 and not entries[0][1]:
        return {one.name: Path(text.strip()) for one in destinations if one.kind == "stow"}
    found = {name: Path(file) for name, _, file in entries if NAME.fullmatch(name) and file}
    if len(found) < len(entries):
        raise ValueError("destination_token_files is written name=file, once a name, or one file")
    return found


@dataclass(frozen=True)
class Peer:
    """A permitted sender; commitment reports go to its port."""

    ae_title: str
    host: str = ""
    port: int = 0


def parse_peers(text: str) -> tuple[Peer, ...]:
    """Parse ``MODALITY1 MODALITY2@10.0.0.5 PACS@10.0.0.9:11112``; raise ValueError."""
    peers = []
    for entry in text.split():
        title, _, address = entry.partition("@")
        host, _, port = address.partition(":")
        if not AE_TITLE.fullmatch(title) or (port and not port.isdigit()):
            raise ValueError("a peer is written AETITLE, AETITLE@address or AETITLE@address:port")
        peers.append(Peer(title, host, int(port or 0)))
    return tuple(peers)
