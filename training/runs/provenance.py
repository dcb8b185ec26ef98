"""The origin of a run."""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from cxr.bundles.manifest import Provenance, SyntheticImages
from cxr.data.split import Part
from training.data.samples import Samples
from training.device import Compute

FROM_SCRATCH = "none (from scratch)"

RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "scikit-learn",
    "safetensors",
    "timm",
)


class NamedRecipe(Protocol):
    """What every recipe has."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def code_revision() -> str:
    """Return the git revision, marked if files differ; ``unknown`` without git."""
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
    """Return the versions of Python and packages, the device and the precision."""
    recorded = {name: version(name) for name in RECORDED_PACKAGES}
    recorded["python"] = platform.python_version()
    recorded["device"] = compute.device.type
    recorded["precision"] = str(compute.dtype).removeprefix("torch.")
    return recorded


def provenance_of(
    recipe: NamedRecipe,
    init: str,
    data_digest: str,
    parts: Mapping[Part, Samples],
    synthetic: SyntheticImages | None = None,
    teachers: tuple[str, ...] = (),
) -> Provenance:
    """Describe a training that ends now."""
    return Provenance(
        recipe=recipe.name,
        seed=recipe.seed,
        init=init,
        code_revision=code_revision(),
        data_digest=data_digest,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        images={part: len(samples) for part, samples in parts.items()},
        patients={part: len(set(samples.patients)) for part, samples in parts.items()},
        sources=dict(sorted(Counter(map(str, parts["train"].sources)).items())),
        teachers=teachers,
        synthetic=synthetic,
    )
