"""Answers on validation images, kept in the run, for bundles are built without data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cxr.bundles.bundle import Bundle
from cxr.bundles.reference import BIN_EDGES, Reference, count_bins
from cxr.bundles.run import Measured, open_run, read_measured
from cxr.data.dataset import DataSets
from cxr.data.split import SPLIT_NAME, select_images
from cxr.errors import BundleError
from cxr.files import sha256_of_file
from export.engines import OrtRunner
from export.evaluate import Evaluation, evaluate_bundle

REFERENCE_NAME = "reference.json"
PART = "val"


class ReferenceFile(Measured):
    """The content of ``reference.json``."""

    reference: Reference


def measure_reference(
    run_path: Path, bundle: Bundle, data: DataSets, quiet: bool = False
) -> Reference:
    """Score a run's validation images through its bundle and keep the answers' histogram.

    RunError if the run is damaged, BundleError if the bundle is of other weights.
    """
    weights = open_run(run_path).weights_sha256
    if sha256_of_file(bundle.weights_path) != weights:
        raise BundleError(f"{bundle.path} was not built from {run_path}. Build the bundle first.")
    manifest = bundle.manifest
    split = f"internal-{PART}"
    images = select_images(data, split, manifest.task.as_task(), run_path / SPLIT_NAME)
    engine = OrtRunner(bundle.model_path, manifest)
    reference = summarise(evaluate_bundle(bundle, engine, images, split, quiet))
    file = ReferenceFile(weights_sha256=weights, reference=reference)
    (run_path / REFERENCE_NAME).write_text(file.model_dump_json(indent=2) + "\n")
    return reference


def summarise(evaluation: Evaluation) -> Reference:
    """Summarise scored images."""
    scores = evaluation.scores
    return Reference(
        part=PART,
        images=len(scores),
        edges=BIN_EDGES,
        counts=count_bins(score.probability for score in scores),
        decisions=dict(Counter(score.decision for score in scores)),
        out_of_scope=sum(not score.in_scope for score in scores),
    )


def read_reference(run_path: Path, weights_sha256: str) -> Reference | None:
    """Read a run's reference, None if there is none; RunError if of other weights."""
    again = (
        f"Measure it again: python -m export reference --run {run_path} --bundle DIR --data DIR."
    )
    found = read_measured(run_path / REFERENCE_NAME, ReferenceFile, weights_sha256, again)
    return None if found is None else found.reference
