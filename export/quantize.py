"""Ranges and cost of eight bits on a run's own data."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from tqdm import tqdm
from typing_extensions import override

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.bundles.manifest import INT8_MODEL_NAME, PrecisionFigures
from cxr.bundles.run import open_run
from cxr.data.dataset import DataSets, LabelledImage
from cxr.data.split import INTERNAL_PREFIX, SPLIT_NAME, select_images
from cxr.errors import DataError, InputError, RunError
from export.build import build_bundle
from export.comparison import compare
from export.engines import OrtRunner, Outputs, Runner
from export.evaluate import Evaluation, evaluate_bundle
from export.goldens import read_model_input
from export.int8 import INT8_NAME, Int8File, measure_ranges
from export.precisions import STAYS_FLOAT, quantise_graph

MAX_AUROC_LOSS = 0.002
SEED = 0
CALIBRATION_PART, TEST_PART = "train", "test"


class RecordingRunner(Runner):
    """An engine that keeps its answers."""

    def __init__(self, engine: Runner) -> None:
        self._engine = engine
        self.answers: list[Outputs] = []

    @override
    def run(self, images: NDArray[np.uint8]) -> Outputs:
        self.answers.append(self._engine.run(images))
        return self.answers[-1]


def quantize_run(
    run_path: Path, data: DataSets, images: int, threads: int = 1, quiet: bool = False
) -> Int8File:
    """Write a run's ``int8.json``, measured on training images.

    RunError if the run is damaged, or eight bits cost too much.
    """
    run = open_run(run_path)
    task, split_file = run.task.as_task(), run_path / SPLIT_NAME
    parts = (CALIBRATION_PART, TEST_PART)
    train, test = (select_images(data, INTERNAL_PREFIX + p, task, split_file) for p in parts)
    with tempfile.TemporaryDirectory() as folder:
        bundle = open_bundle(build_bundle(run_path, Path(folder), with_int8=False))
        model = onnx.load(bundle.model_path)
        chosen = random.Random(SEED).sample(train, min(images, len(train)))  # noqa: S311
        ranges = measure_ranges(model, _model_inputs(bundle, chosen, quiet), threads)
        quantised = Path(folder) / INT8_MODEL_NAME
        onnx.save_model(quantise_graph(model, ranges), quantised)
        engines = [
            OrtRunner(p, bundle.manifest, "cpu", threads) for p in (bundle.model_path, quantised)
        ]
        figures = _measure(bundle, engines, test, quiet)
    _verify_loss(figures)
    found = Int8File(
        weights_sha256=run.weights_sha256,
        calibration=f"smallest and largest value over {len(chosen)} training images",
        stays_float=STAYS_FLOAT,
        figures=figures,
        ranges=ranges,
    )
    (run_path / INT8_NAME).write_text(found.model_dump_json(indent=1) + "\n")
    return found


def _model_inputs(
    bundle: Bundle, images: Sequence[LabelledImage], quiet: bool
) -> Iterator[NDArray[np.uint8]]:
    for image in tqdm(images, desc="ranges", unit="image", disable=quiet, dynamic_ncols=True):
        try:
            yield read_model_input(image.path.read_bytes(), bundle.manifest.preprocessing)
        except InputError as error:
            raise DataError(f"{image.name} cannot be used: {error}") from None


def _measure(
    bundle: Bundle, engines: Sequence[Runner], images: list[LabelledImage], quiet: bool
) -> PrecisionFigures:
    recorders = [RecordingRunner(engine) for engine in engines]
    exact, rounded = (
        evaluate_bundle(bundle, recorder, images, INTERNAL_PREFIX + TEST_PART, quiet)
        for recorder in recorders
    )
    largest, mean = compare(recorders[0].answers, recorders[1].answers)
    point = bundle.manifest.default_operating_point
    return PrecisionFigures(
        part=TEST_PART,
        images=exact.images,
        auroc=rounded.metrics[point]["auroc"],
        auroc_fp32=exact.metrics[point]["auroc"],
        largest=largest,
        mean=mean,
        decisions_changed=sum(
            a.decision != b.decision for a, b in zip(exact.scores, rounded.scores, strict=True)
        ),
        out_of_scope=_out_of_scope(rounded),
        out_of_scope_fp32=_out_of_scope(exact),
    )


def _out_of_scope(evaluation: Evaluation) -> int:
    return sum(not score.in_scope for score in evaluation.scores)


def _verify_loss(figures: PrecisionFigures) -> None:
    before, after = figures.auroc_fp32.value, figures.auroc.value
    if before is not None and after is not None and before - after > MAX_AUROC_LOSS:
        raise RunError(
            f"Eight bits cost {before - after:.4f} of AUROC; at most {MAX_AUROC_LOSS} is allowed; "
            "nothing was written."
        )
