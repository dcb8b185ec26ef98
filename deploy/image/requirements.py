"""Print what an image installs: the dependencies without those its target has no use for.

``python requirements.py cpu|cpu-explain|gpu|bundles`` in a folder with pyproject.toml and
requirements.lock. Versions come from the lock, which pip is given as constraints.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

MAKING = frozenset({"onnx", "onnxscript", "scikit-learn", "scipy", "matplotlib", "jinja2"})
"""What only training and export need."""

PYTORCH = frozenset({"torch", "torchvision", "timm"})
"""What explanations need, too."""

CUDA_RUNTIME = "onnxruntime-gpu"
CPU_RUNTIME = "onnxruntime"
"""The same library, at the same version, without 300 MB of CUDA kernels."""

LEFT_OUT = {
    "cpu": MAKING | PYTORCH | {CUDA_RUNTIME},
    "cpu-explain": MAKING | {CUDA_RUNTIME},
    "gpu": MAKING,
    "bundles": frozenset({CUDA_RUNTIME}),
}
NOT_OF_IMAGES = {"dev", "search"}
"""Extras that no image has."""


def requirements(target: str, project: dict[str, object], lock: str) -> list[str]:
    """Give the packages of a target, one line each.

    Args:
        target: Name of a stage of the Dockerfile.
        project: The table ``project`` of pyproject.toml.
        lock: Text of requirements.lock.

    Raises:
        KeyError: There is no such target.
    """
    left_out = LEFT_OUT[target]
    extras = project["optional-dependencies"]
    wanted = list(project["dependencies"])  # type: ignore[call-overload]
    for name, lines in extras.items():  # type: ignore[attr-defined]
        if name not in NOT_OF_IMAGES and (target, name) != ("gpu", "openvino"):
            wanted += lines
    kept = sorted({line for line in wanted if name_of(line) not in left_out})
    if CUDA_RUNTIME in left_out:
        kept.append(f"{CPU_RUNTIME}=={pinned(lock)[CUDA_RUNTIME]}")
    return kept


def name_of(requirement: str) -> str:
    """Give the normalised name of a requirement (PEP 503)."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def pinned(lock: str) -> dict[str, str]:
    """Give the version of each package of the lock."""
    return {name_of(n): v for n, v in re.findall(r"(?m)^([^#\s=]+)==([^\s;]+)", lock)}


if __name__ == "__main__":
    read = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    print("\n".join(requirements(sys.argv[1], read, Path("requirements.lock").read_text())))
