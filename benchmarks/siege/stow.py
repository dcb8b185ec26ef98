"""STOW-RS as an attacker or an archive needs it: multipart built and taken apart, and an answer."""

from __future__ import annotations

import json
import secrets

SOP_INSTANCE = b"\x08\x00\x18\x00UI"
SOP_CLASS = b"\x08\x00\x16\x00UI"
STUDY_INSTANCE = b"\x20\x00\x0d\x00UI"
DICOM_JSON = "application/dicom+json"


def related(objects: list[bytes]) -> tuple[str, bytes]:
    """Give the Content-Type and body of a multipart/related of Part 10 files (PS3.18, 8.6)."""
    boundary = secrets.token_hex(16)
    opening = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(opening + one + b"\r\n" for one in objects) + f"--{boundary}--\r\n".encode()
    return f'multipart/related; type="application/dicom"; boundary={boundary}', body


def split(content_type: str, body: bytes) -> list[bytes]:
    """Give the Part 10 files of a multipart/related."""
    boundary = content_type.partition("boundary=")[2].partition(";")[0].strip('" ').encode()
    parts = body.split(b"--" + boundary)[1:-1]
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts]


def uid_of(data: bytes, key: bytes) -> str:
    """Give the first UID with that tag, of an object in Explicit VR Little Endian."""
    at = data.index(key) + len(key)
    length = int.from_bytes(data[at : at + 2], "little")
    return data[at + 2 : at + 2 + length].rstrip(b"\0 ").decode()


def stored(objects: list[bytes]) -> bytes:
    """Give the answer of an archive that has stored them (PS3.18, Annex I)."""
    items = [
        {
            "00081150": {"vr": "UI", "Value": [uid_of(one, SOP_CLASS)]},
            "00081155": {"vr": "UI", "Value": [uid_of(one, SOP_INSTANCE)]},
        }
        for one in objects
    ]
    return json.dumps({"00081199": {"vr": "SQ", "Value": items}}).encode()
