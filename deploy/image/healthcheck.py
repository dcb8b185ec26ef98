"""Exit 0 if the service, or the gateway with its port as argument, accepts work."""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection

TIMEOUT_S = 3

if __name__ == "__main__":
    port = int(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CXR_PORT", "8000"))
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health/ready")
        sys.exit(0 if connection.getresponse().status == 200 else 1)
    except OSError:
        sys.exit(1)
