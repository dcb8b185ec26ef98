"""Build a bundle from a run, all or nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from cxr.bundles import manifest as names
from cxr.bundles.manifest import (
    GoldenTolerance,
    Manifest,
    Parity,
    PrecisionSection,
    Rounding,
    Tensors,
)
from cxr.bundles.methods import Method
from cxr.bundles.run import Run, open_run
from cxr.explain.evidence import read_evidence
from cxr.files import new_directory, sha256_of_file
from cxr.networks.served import served_network
from cxr.verdict.scope import load_scope_gate
from export.card import intended_use, limitations, render_card
from export.comparison import LOGIT_TOLERANCE, measure_parity, verify_goldens_rounded
from export.engines import OrtExplainer, OrtRunner, TorchRunner
from export.explanation import verify_explain_graph, write_explain_graph
from export.goldens import TOLERANCE, golden_inputs, write_goldens
from export.graph import OPSET, embedding_size, export_graph
from export.int8 import Int8File, read_int8
from export.precisions import halve_graph, quantise_graph
from export.reference import read_reference

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

BF16 = PrecisionSection(
    file=names.MODEL_NAME,  # engines round float32 weights by themselves
    # Over both shipped models, the goldens moved by 0.005 at most; see docs/decisions/0009.
    golden_tolerance=GoldenTolerance(tensors=3e-2, files=5e-2),
    # Over 200 radiographs logits moved by 0.031 at most, embeddings by 0.018 of their length.
    tolerance=Rounding(logits=0.1, probabilities=5e-2, embedding=5e-2),
    goldens=None,
    figures=None,
)

FP16_TOLERANCE = Rounding(logits=2e-2, probabilities=1e-2, embedding=1e-2)
"""On both shipped models, over 200 radiographs in ONNX Runtime and over 60 in PyTorch with all
feature maps in float16, logits moved by 0.005 at most, probabilities by 0.002 and embeddings by
0.003 of their length. Devices sum in other orders."""

FP16_GOLDENS = 5e-3  # probabilities of the goldens moved by 0.0005 at most

UNMEASURED_METHODS: tuple[Method, ...] = ("gradcam",)
"""Offered for a run whose heatmaps were not measured."""

LEAST_INT8_TOLERANCE = 0.02  # of goldens, where they happen to move less than images do


def build_bundle(run_path: Path, out: Path, *, with_int8: bool = True) -> Path:
    """Build the bundle of a run in a folder of bundles and return its directory.

    It is named after the run's model and replaces an older one only when it is complete.

    Raises:
        RunError: The run is damaged, or a file measured for it is of other weights.
        BundleError: PyTorch and ONNX Runtime disagree, or the gate is another network's.
    """
    run = open_run(run_path)
    evidence = read_evidence(run_path, run.weights_sha256)
    int8 = read_int8(run_path, run.weights_sha256) if with_int8 else None
    reference_answers = read_reference(run_path, run.weights_sha256)
    target = out / run.name
    with new_directory(target, names.MANIFEST_NAME) as directory:
        weights = directory / names.WEIGHTS_NAME
        for name in (names.WEIGHTS_NAME, names.SCOPE_NAME):
            shutil.copyfile(run_path / name, directory / name)
        served = served_network(weights, run)
        methods = UNMEASURED_METHODS if evidence is None else evidence.passing()
        draft = _draft(run, served.network.explain_layer, methods)
        size = run.preprocessing.size_px
        tensors = Tensors(embedding_size=embedding_size(served, size))
        model = directory / names.MODEL_NAME
        export_graph(served, size, model, tensors)
        reference, candidate = TorchRunner(served), OrtRunner(model, draft)
        inputs = golden_inputs(run.preprocessing)
        parity = measure_parity(reference, candidate, inputs)
        precisions: dict[names.Precision, PrecisionSection] = {
            "bf16": BF16,
            "fp16": _write_fp16(directory, reference, draft, inputs),
        }
        if int8 is not None:
            precisions["int8"] = _write_int8(int8, directory, reference, draft, inputs)
        if graph := write_explain_graph(directory, served, size, tensors, inputs):
            verify_explain_graph(served, OrtExplainer(graph, tensors), inputs)
        write_goldens(directory, reference, run.preprocessing, run.task.as_task())
        load_scope_gate(directory / names.SCOPE_NAME, tensors.embedding_size, len(run.populations))
        measured = {
            "tensors": tensors,
            "parity": parity,
            "precisions": precisions,
            "reference": reference_answers,
        }
        manifest = draft.model_copy(update=measured)
        (directory / names.MODEL_CARD_NAME).write_text(
            render_card(manifest, run.notes, evidence, int8)
        )
        files = {
            path.relative_to(directory).as_posix(): sha256_of_file(path)
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        manifest = Manifest.model_validate(manifest.model_dump() | {"files": files})
        (directory / names.MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
    return target


def _write_fp16(
    directory: Path, reference: TorchRunner, draft: Manifest, inputs: NDArray[np.uint8]
) -> PrecisionSection:
    path = directory / names.HALF_MODEL_NAME
    onnx.save_model(halve_graph(onnx.load(directory / names.MODEL_NAME)), path)
    goldens = verify_goldens_rounded(reference, OrtRunner(path, draft), inputs, FP16_TOLERANCE)
    return PrecisionSection(
        file=path.name,
        golden_tolerance=GoldenTolerance(
            tensors=FP16_GOLDENS, files=FP16_GOLDENS + TOLERANCE.files
        ),
        tolerance=FP16_TOLERANCE,
        goldens=goldens,
        figures=None,
    )


def _write_int8(
    int8: Int8File,
    directory: Path,
    reference: TorchRunner,
    draft: Manifest,
    inputs: NDArray[np.uint8],
) -> PrecisionSection:
    path = directory / names.INT8_MODEL_NAME
    model = onnx.load(directory / names.MODEL_NAME)
    onnx.save_model(quantise_graph(model, int8.ranges), path)
    goldens = verify_goldens_rounded(reference, OrtRunner(path, draft), inputs, int8.tolerance)
    # Other engines and CPUs round eight bits differently, though not by much.
    allowed = float(f"{max(3 * goldens.probabilities, LEAST_INT8_TOLERANCE):.2g}")
    return PrecisionSection(
        file=path.name,
        golden_tolerance=GoldenTolerance(tensors=allowed, files=allowed + TOLERANCE.files),
        tolerance=int8.tolerance,
        goldens=goldens,
        figures=int8.figures,
    )


def _draft(run: Run, explain_layer: str, explain_methods: tuple[Method, ...]) -> Manifest:
    return Manifest(
        schema_version=3,
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
        populations=run.populations,
        explain_layer=explain_layer,
        explain_methods=explain_methods,
        intended_use=intended_use(run),
        limitations=limitations(run),
        provenance=run.provenance,
        metrics=run.metrics,
        parity=_UNMEASURED,
        golden_tolerance=TOLERANCE,
        files=_UNWRITTEN,
    )
