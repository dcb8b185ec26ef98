"""Environments of the peers, made on demand. Nothing of them is installed beside the service."""

from __future__ import annotations

import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

from benchmarks.child import MeasureError

PEERS = {"mosec": "mosec==0.9.8", "litserve": "litserve==0.2.19"}

SHARED = ("onnxruntime-gpu", "numpy", "pillow", "imagecodecs", "pydicom", "pydantic")
"""What decodes and runs, in the versions the service has: a peer is not to win or lose by these."""

STAMP = "installed.txt"


def requirements(peer: str) -> list[str]:
    """Give what is installed for a peer."""
    return [PEERS[peer], *(f"{name}=={version(name)}" for name in SHARED)]


def make_environment(peer: str, cache: Path) -> Path:
    """Make a peer's environment, unless it is there, and give its Python.

    Args:
        peer: ``mosec`` or ``litserve``.
        cache: Folder of the environments.

    Raises:
        MeasureError: It cannot be installed; the message says why.
    """
    folder = cache / peer
    python = folder / "bin" / "python"
    stamp = folder / STAMP
    wanted = "\n".join(requirements(peer)) + "\n"
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return python
    venv.create(folder, clear=True, with_pip=True, symlinks=True)
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    finished = subprocess.run(
        [*pip, *requirements(peer)],
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        reason = (finished.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise MeasureError(f"{peer} cannot be installed: {reason}")
    stamp.write_text(wanted)  # written last: what is half installed is made anew
    return python
