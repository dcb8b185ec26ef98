"""A run directory to a bundle directory, all or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

from cxr import manifest as names
from cxr.digest import new_directory, sha256_of_file
from cxr.explain.evidence import read_evidence
from cxr.manifest import Manifest, Parity, Tensors
from cxr.networks import ARCHITECTURES
from cxr.networks.network import Network
from cxr.networks.served import served_network
from cxr.run import Run, open_run
from cxr.scope_gate import load_scope_gate
from export.card import render_card
from export.engine import OrtEngine, TorchEngine
from export.goldens import TOLERANCE, golden_inputs, write_goldens
from export.graph import OPSET, embedding_size, export_graph
from export.intended_use import INTENDED_USE, LIMITATIONS
from export.parity import LOGIT_TOLERANCE, measure_parity

# Stand in until they are measured or written; a draft manifest never reaches the disk.
_UNMEASURED = Parity(
    batch_sizes=(),
    tolerance=LOGIT_TOLERANCE,
    max_logit_difference=0,
    max_probability_difference=0,
    max_embedding_difference=0,
)
_UNWRITTEN = dict.fromkeys(
    (names.MODEL_NAME, names.WEIGHTS_NAME, names.SCOPE_NAME, names.GOLDEN_TENSORS_NAME), ""
)


def build_bundle(run_path: Path, out: Path) -> Path:
    """Build the bundle of a run.

    Args:
        run_path: The run directory.
        out: Folder of bundles; the new one is named after the run's model and replaces an
            older one only when it is complete.

    Returns:
        The bundle's directory.

    Raises:
        RunError: The run is missing or damaged, or its explanation.json is of other weights.
        BundleError: PyTorch and ONNX Runtime disagree, or the scope gate is another network's.
    """
    run = open_run(run_path)
    evidence = read_evidence(run_path, run.weights_sha256)
    target = out / run.name
    with new_directory(target, names.MANIFEST_NAME) as directory:
        weights = directory / names.WEIGHTS_NAME
        for name in (names.WEIGHTS_NAME, names.SCOPE_NAME):
            shutil.copyfile(run_path / name, directory / name)
        draft = _draft(run)
        served = served_network(weights, draft)
        size = run.preprocessing.size_px
        tensors = Tensors(embedding_size=embedding_size(served, size))
        model = directory / names.MODEL_NAME
        export_graph(served, size, model, tensors)
        reference, candidate = TorchEngine(served), OrtEngine(model, draft)
        parity = measure_parity(reference, candidate, golden_inputs(run.preprocessing))
        positive = run.task.as_task().positive_index
        write_goldens(directory, reference, run.preprocessing, positive)
        load_scope_gate(directory / names.SCOPE_NAME, tensors.embedding_size)
        manifest = draft.model_copy(update={"tensors": tensors, "parity": parity})
        (directory / names.MODEL_CARD_NAME).write_text(render_card(manifest, run.notes, evidence))
        files = {
            path.relative_to(directory).as_posix(): sha256_of_file(path)
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        manifest = Manifest.model_validate(manifest.model_dump() | {"files": files})
        (directory / names.MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
    return target


def _draft(run: Run) -> Manifest:
    network_type = ARCHITECTURES[run.architecture]
    assert isinstance(network_type, type)
    assert issubclass(network_type, Network)
    return Manifest(
        name=run.name,
        version=run.version,
        architecture=run.architecture,
        task=run.task,
        preprocessing=run.preprocessing,
        normalisation=run.normalisation,
        calibration=run.calibration,
        tensors=Tensors(embedding_size=1),
        opset=OPSET,
        operating_points=run.operating_points,
        default_operating_point=run.default_operating_point,
        referral=run.referral,
        scope=run.scope,
        explain_layer=network_type.explain_layer,
        intended_use=INTENDED_USE,
        limitations=LIMITATIONS,
        provenance=run.provenance,
        metrics=run.metrics,
        parity=_UNMEASURED,
        golden_tolerance=TOLERANCE,
        files=_UNWRITTEN,
    )
