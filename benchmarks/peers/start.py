"""Peers as servers."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.child import ROOT
from benchmarks.peers.environment import make_environment
from benchmarks.server import Server, free_port

TIMEOUT_S = 10.0  # as long as a request to the service may take by default
MAX_BODY_BYTES = 64 * 1024 * 1024


def start_peer(
    peer: str, cache: Path, onnx: Path, manifest: Path, sample: bytes, workers: int, capacity: int
) -> Server:
    """Start a peer, tuned as its own documentation advises for a CPU.

    Args:
        peer: ``mosec`` or ``litserve``.
        cache: Folder of the environments.
        onnx: The graph it runs.
        manifest: Of the bundle: preprocessing and classes.
        sample: A file to try.
        workers: Processes that decode and run; one thread each.
        capacity: Requests it takes before it refuses.

    Raises:
        MeasureError: It cannot be installed or does not start.
    """
    python = make_environment(peer, cache)
    port = free_port()
    settings = {
        "ONNX": str(onnx),
        "MANIFEST": str(manifest),
        "WORKERS": str(workers),
        "CAPACITY": str(capacity),
        "TIMEOUT_S": str(TIMEOUT_S),
        "PORT": str(port),
    }
    arguments = {
        "mosec": [
            *("--address", "127.0.0.1", "--port", "{port}", "--log-level", "error"),
            *("--capacity", str(capacity), "--timeout", str(int(TIMEOUT_S * 1000))),
            *("--max-request-size", str(MAX_BODY_BYTES)),
        ],
        "litserve": [],
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    env |= {f"PEER_{name}": value for name, value in settings.items()}
    env |= {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{python.parent}{os.pathsep}{env.get('PATH', '')}",
        "OMP_NUM_THREADS": "1",
    }
    return Server(
        peer,
        [str(python), "-m", f"benchmarks.peers.{peer}_app", *arguments[peer]],
        env,
        target_path="/inference" if peer == "mosec" else "/predict",
        ready_path=None,
        sample=sample,
        port=port,
    )
