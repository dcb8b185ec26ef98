"""A bundle on disk."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cxr.bundles import manifest as names
from cxr.bundles.manifest import Manifest
from cxr.errors import BundleError
from cxr.files import read_regular_file, sha256_of_file
from cxr.section import first_complaint
from cxr.verdict.decision import Rules
from cxr.verdict.scope import load_scope_gate

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""A hundred times what those have that ship."""


@dataclass(frozen=True)
class GoldenTensors:
    """Model inputs (N, 1, S, S), uint8, with PyTorch's answers (N, K), float32."""

    images: NDArray[np.uint8]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, whose files match their digests; ``sha256`` identifies the whole."""

    path: Path
    manifest: Manifest
    sha256: str

    @property
    def model_path(self) -> Path:
        """The ONNX file in float32."""
        return self.path / names.MODEL_NAME

    def model_path_of(self, precision: str) -> Path:
        """Return the ONNX file for a precision; BundleError if there is none."""
        try:
            return self.path / self.manifest.model_file(precision)
        except KeyError:
            raise BundleError(
                f"The bundle {self.path} has no {precision} graph; it has "
                f"{', '.join((names.FP32, *self.manifest.precisions))}."
            ) from None

    @property
    def weights_path(self) -> Path:
        """The same weights for PyTorch."""
        return self.path / names.WEIGHTS_NAME

    @property
    def explain_path(self) -> Path | None:
        """The ONNX file with gradients, which reads the weights' file; None if there is none."""
        has_it = names.EXPLAIN_NAME in self.manifest.files
        return self.path / names.EXPLAIN_NAME if has_it else None

    def rules(self) -> Rules:
        """Read the rules for images; BundleError if the gate is another network's."""
        manifest = self.manifest
        size = manifest.tensors.embedding_size
        return Rules(
            task=manifest.task.as_task(),
            referral=manifest.referral,
            gate=load_scope_gate(self.path / names.SCOPE_NAME, size, len(manifest.populations)),
            thresholds=manifest.scope.thresholds,
            populations=manifest.populations,
        )

    def golden_tensors(self) -> GoldenTensors:
        """Read the golden tensors."""
        with np.load(self.path / names.GOLDEN_TENSORS_NAME, allow_pickle=False) as arrays:
            return GoldenTensors(arrays["images"], arrays["logits"], arrays["probabilities"])

    def golden_files(self) -> dict[Path, float]:
        """Return the encoded golden images, each with the finding's probability."""
        expected = json.loads((self.path / names.GOLDEN_EXPECTED_NAME).read_text())
        return {self.path / names.GOLDEN_FILES_DIR / name: float(p) for name, p in expected.items()}


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and verify every file against the manifest.

    BundleError if missing, incomplete, tampered with, or of another schema version.
    """
    content = read_manifest(path)
    try:
        manifest = Manifest.model_validate_json(content)
        _verify_files(path, manifest)
    except ValidationError as error:
        raise BundleError(
            f"The manifest of {path} is not valid at {first_complaint(error)}."
        ) from None
    except (OSError, ValueError) as error:  # of names no file system has
        raise BundleError(f"The files of {path} cannot be read ({type(error).__name__}).") from None
    return Bundle(path, manifest, hashlib.sha256(content).hexdigest())


def reopen_bundle(path: Path, sha256: str) -> Bundle:
    """Open a bundle that was opened before, with the digest it had; BundleError if it changed."""
    bundle = open_bundle(path)
    if bundle.sha256 != sha256:
        raise BundleError(f"The bundle {path} was changed while it was read.")
    return bundle


def read_manifest(path: Path) -> bytes:
    """Read the manifest of a bundle; BundleError if there is none."""
    try:
        return read_regular_file(path / names.MANIFEST_NAME, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise BundleError(f"No bundle at {path}: {names.MANIFEST_NAME} is missing.") from None
    except OSError as error:
        raise BundleError(
            f"The {names.MANIFEST_NAME} of {path} cannot be read: {error.strerror}."
        ) from None


def _verify_files(path: Path, manifest: Manifest) -> None:
    found = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    # Kubernetes keeps what a volume's entries point to beside them, in folders such as ..data.
    found = {name for name in found if not name.startswith("..")}
    if unlisted := sorted(found - set(manifest.files) - {names.MANIFEST_NAME}):
        raise BundleError(f"The bundle {path} was changed: {unlisted[0]} is not in its manifest.")
    root = Path(os.path.realpath(path))  # which takes a loop of links for a name, as it is one
    for name, expected in manifest.files.items():
        file = path / name
        if not Path(os.path.realpath(file)).is_relative_to(root):
            raise BundleError(f"The manifest of {path} names a file outside the bundle.")
        if not file.is_file():
            raise BundleError(f"The bundle {path} is incomplete: {name} is missing.")
        if sha256_of_file(file) != expected:
            raise BundleError(
                f"The bundle {path} was changed: {name} does not have the digest of the manifest."
            )


def list_bundles(root: Path) -> list[Path]:
    """List the bundle directories in a folder, sorted by name. A bundle lists itself.

    Bundles lie flat, ``root/<any>/``, or by version, ``root/<any>/<any>/``. Names that begin with a
    dot are skipped: copies under way, and what Kubernetes keeps in volumes.
    """
    if _has_manifest(root):
        return [root]
    found: list[Path] = []
    for folder in _folders(root):
        inside = [folder] if _has_manifest(folder) else _folders(folder)
        found += [path for path in inside if _has_manifest(path)]
    return found


def _has_manifest(path: Path) -> bool:
    return os.path.lexists(path / names.MANIFEST_NAME)


def _folders(path: Path) -> list[Path]:
    try:
        # Not Path.is_dir, which raises for some links: one of them would hide all the others.
        return sorted(p for p in path.iterdir() if os.path.isdir(p) and not p.name.startswith("."))
    except OSError:  # not there, or gone since it was listed
        return []
