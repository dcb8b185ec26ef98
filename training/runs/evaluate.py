"""Measure a run on a split."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.run import open_run
from cxr.data.dataset import DataSets
from cxr.data.split import SPLIT_NAME, select_images
from cxr.files import new_directory, verify_replaceable
from cxr.metrics.classes import labels_at, measure_task
from cxr.metrics.estimate import Estimate
from cxr.networks import build_network
from cxr.networks.weights import load_weights
from training.data.samples import load_samples
from training.device import Compute
from training.fit.scoring import score
from training.reliability.calibrate import probabilities_of
from training.report import figures as draw
from training.report.page import json_text, render_page, write_figures

METRICS_NAME = "metrics.json"
REPORT_NAME = "report.html"


class RunEvaluation(BaseModel):
    """The content of ``metrics.json``."""

    model_config = ConfigDict(frozen=True)

    run: str
    version: str
    split: str
    images: int
    patients: int
    metrics: dict[str, dict[str, Estimate]]


def evaluate_run(
    run_path: Path, data: DataSets, split: str, out: Path, compute: Compute, quiet: bool = False
) -> Path:
    """Score a split and write metrics.json, figures and report.html; return its path.

    ``split``: ``train``, ``val``, ``test``, or an ``internal-`` part of the run's own split.

    OutputError if the place is taken, RunError for a damaged run, DataError for unusable data.
    """
    verify_replaceable(out, METRICS_NAME)
    run = open_run(run_path)
    task = run.task.as_task()
    images = select_images(data, split, task, run_path / SPLIT_NAME)
    samples = load_samples(images, run.preprocessing, task, os.cpu_count() or 1, quiet)
    network = build_network(run.architecture, len(task.classes))
    load_weights(network, run_path / WEIGHTS_NAME)
    network = compute.place(network)
    logits = score(
        network, samples.pixels, run.normalisation, compute.exact, run.calibration.mirror
    )
    of_classes = probabilities_of(logits, run.calibration.temperature)
    labels = task.is_positive(samples.labels).astype(np.int64)
    probabilities = task.probabilities(of_classes)
    metrics = measure_task(
        samples.labels,
        of_classes,
        task,
        {point.name: point.threshold for point in run.operating_points},
        [str(patient) for patient in samples.patients],
    )
    evaluation = RunEvaluation(
        run=run.name,
        version=run.version,
        split=split,
        images=len(samples),
        patients=len(set(samples.patients)),
        metrics=metrics,
    )
    names = (" / ".join(task.negative_classes), task.positive)
    default = run.default_point
    drawn = {
        "training_curves": draw.draw_curves(run.curves),
        "confusion_matrix": draw.draw_confusion(
            samples.labels, labels_at(of_classes, task, default.threshold), default, task.classes
        ),
        "roc": draw.draw_roc(labels, probabilities, metrics),
        "precision_recall": draw.draw_precision_recall(labels, probabilities, metrics),
        "reliability": draw.draw_reliability(labels, probabilities, metrics[default.name]),
        "histogram": draw.draw_histogram(labels, probabilities, run.operating_points, names),
    }
    with new_directory(out, METRICS_NAME) as directory:
        (directory / METRICS_NAME).write_text(json_text(evaluation))
        page = render_page(
            "evaluation.html.j2",
            run=run,
            split=split,
            images=len(samples),
            patients=evaluation.patients,
            positives=int(labels.sum()),
            unreadable=len(images) - len(samples),
            metrics=metrics,
            figures=write_figures(drawn, directory),
        )
        (directory / REPORT_NAME).write_text(page)
    return out / REPORT_NAME
