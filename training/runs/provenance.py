"""Where a run comes from: revision of the code and versions of what it ran on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from training.device import Compute

RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "scikit-learn",
    "safetensors",
    "timm",
)


def code_revision() -> str:
    """Give the git revision of the code, marked if files differ from it; else ``unknown``."""
    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        return finished.stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "cxr", "training")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{revision}-modified" if changed else revision


def versions(compute: Compute) -> dict[str, str]:
    """Give the versions of Python and packages, the device and the precision."""
    recorded = {name: version(name) for name in RECORDED_PACKAGES}
    recorded["python"] = platform.python_version()
    recorded["device"] = compute.device.type
    recorded["precision"] = str(compute.dtype).removeprefix("torch.")
    return recorded
