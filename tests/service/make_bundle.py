"""A small valid bundle, made in code.

Its graph answers with a function of the mean grey level, so a swapped or lost answer shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from cxr.bundles.manifest import Manifest
from cxr.bundles.methods import METHODS
from cxr.bundles.reference import BIN_EDGES, Reference
from cxr.files import sha256_of_file
from cxr.images.layout import LAYOUT_SIZE
from cxr.verdict.scope import ScopeGate
from service.images.preparation import prepare_image
from tests.populations import ADULTS, CHILDREN, as_sections
from tests.service.make_images import make_dicom, make_jpeg, make_png

SIZE_PX = 32
MIN_SIDE_PX = 64
SLOPE = 1.0 / 32.0  # logits per grey level

Columns: TypeAlias = tuple[float, ...]
"""Of each class's logit, the factor of the mean grey level above the middle."""

TWO: Columns = (-1.0, 1.0)

THRESHOLD = 0.4
MAX_PIXELS = 1_000_000


REFERENCE = Reference(
    part="val",
    images=400,
    edges=BIN_EDGES,
    counts=(60, 40, 20, 20, 20, 10, 10, 10, 10, 10, 10, 20, 20, 20, 40, 80),
    decisions={"positive": 200, "negative": 160, "refer": 40},
    out_of_scope=8,
)

LIKE_CHILDREN = [{"score": -1.0, "rest": 1e9}, {"score": 1.0, "rest": 1e9}]
LIKE_ADULTS = LIKE_CHILDREN[::-1]
LIKE_NOBODY = [{"score": 1.0, "rest": 1e9}] * 2
"""Lines of the two populations, by whom every picture is taken to be of."""


def logits_of(
    images: NDArray[np.uint8], slope: float = SLOPE, columns: Columns = TWO
) -> NDArray[np.float32]:
    """Give what the graph gives for model inputs (N, 1, S, S): shape (N, K)."""
    positive = (images.astype(np.float32).mean(axis=(1, 2, 3)) - 128.0) * slope
    return np.stack([positive * factor for factor in columns], axis=1).astype(np.float32)


def probabilities_of(
    images: NDArray[np.uint8], slope: float = SLOPE, columns: Columns = TWO
) -> NDArray[np.float32]:
    """Give the softmax of :func:`logits_of`."""
    powers = np.exp(logits_of(images, slope, columns))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def make_graph(
    size_px: int = SIZE_PX, slope: float = SLOPE, columns: Columns = TWO
) -> onnx.ModelProto:
    """Make the ONNX graph."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "centre"], ["centred"]),
        helper.make_node("Mul", ["centred", "slopes"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("Identity", ["logits"], ["embedding"]),
    ]
    constants = {
        "centre": np.array([[128.0]], dtype=np.float32),
        "slopes": np.array([columns], dtype=np.float32) * np.float32(slope),
    }
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, size_px, size_px])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(columns)])
        for name in ("logits", "probabilities", "embedding")
    ]
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "mean-grey", [image], outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_gate(size: int = 2) -> ScopeGate:
    """Make a scope gate that takes every picture for a chest; lines tell of which population."""
    return ScopeGate(
        layout_weights=np.zeros(LAYOUT_SIZE, dtype=np.float32),
        layout_bias=np.zeros(1, dtype=np.float32),
        population_weights=np.zeros((2, LAYOUT_SIZE), dtype=np.float32),
        population_bias=np.zeros(2, dtype=np.float32),
        population_mean=np.zeros((2, LAYOUT_SIZE), dtype=np.float32),
        population_components=np.zeros((2, 1, LAYOUT_SIZE), dtype=np.float32),
        embedding_mean=np.zeros(size, dtype=np.float32),
        embedding_whitening=np.eye(size, dtype=np.float32),
    )


def slope_of(version: str) -> float:
    """Give the slope of a version's graph: each answers otherwise."""
    major, minor, _ = map(int, version.split("."))
    return SLOPE * (major + 0.25 * minor)


def make_version(root: Path, version: str, name: str = "resnet18", **changes: Any) -> Path:
    """Write a version to ``root/name/version``."""
    return make_bundle(
        root, f"{name}/{version}", slope_of(version), name=name, version=version, **changes
    )


def make_bundle(
    root: Path,
    folder: str = "resnet18",
    slope: float = SLOPE,
    columns: Columns = TWO,
    **changes: Any,
) -> Path:
    """Write a bundle to ``root/folder``; changes replace members of its manifest."""
    path = root / folder
    (path / "golden").mkdir(parents=True)
    onnx.save(make_graph(slope=slope, columns=columns), path / "model.onnx")
    save_file({"weight": np.zeros(1, dtype=np.float32)}, path / "weights.safetensors")
    make_gate(len(columns)).save(path / "scope.safetensors")
    (path / "MODEL_CARD.md").write_text("# A model for tests\n")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 1, SIZE_PX, SIZE_PX), dtype=np.uint8)
    np.savez(
        path / "golden.npz",
        images=images,
        logits=logits_of(images, slope, columns),
        probabilities=probabilities_of(images, slope, columns),
    )
    manifest = _manifest(folder.partition("/")[0]) | changes
    _write_golden_files(path / "golden", Manifest.model_validate(manifest), slope, columns)
    write_manifest(path, manifest)
    return path


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write a bundle's manifest with the digests its files have now."""
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "manifest.json")
    manifest["files"] = {p.relative_to(path).as_posix(): sha256_of_file(p) for p in files}
    (path / "manifest.json").write_text(json.dumps(manifest))


def _write_golden_files(folder: Path, manifest: Manifest, slope: float, columns: Columns) -> None:
    files = {"a.png": make_png(90), "b.jpeg": make_jpeg(150), "c.dcm": make_dicom(170)}
    expected = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        image = prepare_image(content, manifest.preprocessing, MAX_PIXELS)
        given = probabilities_of(image.model_input[np.newaxis], slope, columns)
        expected[name] = float(manifest.task.as_task().probabilities(given)[0])
    (folder / "expected.json").write_text(json.dumps(expected))


def _manifest(name: str) -> dict[str, Any]:
    estimate = {"value": 0.9, "low": 0.8, "high": 0.95}
    point = {"sensitivity": 0.97, "specificity": 0.93}
    return {
        "schema_version": 3,
        "name": name,
        "version": "1.0.0",
        "architecture": "mean_grey",
        "task": {"name": "pneumonia", "classes": ["NORMAL", "PNEUMONIA"], "positive": "PNEUMONIA"},
        "preprocessing": {"size_px": SIZE_PX, "min_side_px": MIN_SIDE_PX},
        "normalisation": {"mean": 0.5, "std": 0.25},
        "calibration": {"temperature": 1.0, "mirror": False},
        "tensors": {"embedding_size": 2},
        "opset": 17,
        "operating_points": [
            {"name": "balanced", "threshold": THRESHOLD, **point},
            {"name": "rule-out", "threshold": 0.05, **point},
        ],
        "default_operating_point": "balanced",
        "referral": {
            "coverage": 0.9,
            "least_probability": {"NORMAL": 0.6, "PNEUMONIA": 0.4},
            "figures": [],
        },
        "scope": {
            "thresholds": {"layout": -1.0, "embedding": 1e9, "populations": LIKE_CHILDREN},
            "figures": [],
        },
        "populations": as_sections(CHILDREN, ADULTS),
        "reference": REFERENCE.model_dump(),
        "explain_layer": "none",
        "explain_methods": list(METHODS),
        "intended_use": "Tests.",
        "limitations": ["Knows grey levels only."],
        "provenance": {
            "recipe": "none",
            "seed": 0,
            "init": "none",
            "code_revision": "none",
            "data_digest": "none",
            "trained_at": "2024-01-01T00:00:00Z",
            "images": {"train": 3, "val": 2, "test": 1},
            "patients": {"train": 3, "val": 2, "test": 1},
        },
        "metrics": {"test": {"balanced": {"sensitivity": estimate, "auroc": estimate}}},
        "parity": {
            "batch_sizes": [1],
            "tolerance": 1e-4,
            "max_logit_difference": 0.0,
            "max_probability_difference": 0.0,
            "max_embedding_difference": 0.0,
        },
        "golden_tolerance": {"tensors": 1e-4, "files": 2e-2},
        "files": {
            "model.onnx": "0" * 64,
            "weights.safetensors": "0" * 64,
            "scope.safetensors": "0" * 64,
            "golden.npz": "0" * 64,
        },
    }
