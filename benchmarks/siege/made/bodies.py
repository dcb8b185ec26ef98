"""Bodies of requests: JSON of very many or very deep members, and multipart of very many parts."""

from __future__ import annotations

import zlib

BOUNDARY = "siege"
IMAGE = b'{"data":""},'
LIST = b"[],"


def json_images(size_bytes: int) -> bytes:
    """Give a request of as many empty images as fit."""
    return b'{"images":[' + IMAGE * (size_bytes // len(IMAGE)) + b'{"data":""}]}'


def json_deep(depth: int) -> bytes:
    """Give a request whose first member is that deep."""
    return b'{"images":' + b"[" * depth + b"]" * depth + b"}"


def v2_lists(size_bytes: int) -> bytes:
    """Give a request of the Open Inference Protocol whose data are empty lists."""
    head = b'{"inputs":[{"name":"image","shape":[1],"datatype":"UINT8","data":['
    return head + LIST * (size_bytes // len(LIST)) + b"[]]}]}"


def gzipped(body: bytes) -> bytes:
    """Give a body as Content-Encoding gzip has it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def empty_parts(count: int, kind: str = "image/jpeg") -> bytes:
    """Give a multipart body of parts that hold nothing, named as the service reads them."""
    disposition = 'Content-Disposition: form-data; name="files"'
    part = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n\r\n"
    return part.encode() * count + f"--{BOUNDARY}--\r\n".encode()
