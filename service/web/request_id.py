"""What a request is called in answers and logs."""

from __future__ import annotations

import re
import secrets

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a client's X-Request-ID must look like to be used: it is logged and echoed."""


def choose_request_id(given: str | None) -> str:
    """Take the client's request id if it is harmless, else make one."""
    if given is not None and REQUEST_ID.fullmatch(given):
        return given
    return secrets.token_hex(8)
