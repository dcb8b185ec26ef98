"""Make a run of weights that are trained already: calibrate, limit and measure them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cxr.bundles.run import RUN_NAME
from cxr.data.labels import task_named
from cxr.data.split import PARTS, list_divided, read_split_file
from cxr.files import sha256_of_file
from cxr.images.decoding import Preprocessing
from cxr.networks import build_network
from cxr.networks.weights import load_weights
from training.data.samples import load_samples
from training.data.sources import populations_of
from training.data.split import samples_of, split_as_before
from training.fit.statistics import normalisation_of
from training.recipe import Recipe
from training.runs.derive import DIGEST_DIGITS, Derived, DerivingJob, Divided, finish_derived
from training.runs.job import verify_new


def adopt_weights(weights: Path, recipe: Recipe, split_file: Path, job: DerivingJob) -> Path:
    """Write a run of weights that were trained on the train part of a split.

    Args:
        weights: A safetensors file of the recipe's architecture.
        recipe: Says what is asked, of whom, and how the run is finished; its phases are not run.
        split_file: The split they were trained with.
        job: Where to write.

    Raises:
        RunError: The weights are another network's, or the run exists.
        DataError: The split or the images are unusable.
    """
    verify_new(job.out, RUN_NAME)
    task = task_named(recipe.task)
    network = build_network(recipe.architecture, len(task.classes))
    load_weights(network, weights)
    before = read_split_file(split_file)
    spec = Preprocessing(size_px=recipe.size_px, min_side_px=recipe.min_side_px)
    images = list_divided(job.data, task, [row.name for row in before])
    samples = load_samples(images, spec, task, os.cpu_count() or 1, job.quiet)
    samples = replace(samples, populations=populations_of(samples, recipe))
    rows = split_as_before(samples, before, task)
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    digest = sha256_of_file(weights)[:DIGEST_DIGITS]
    finishing = recipe.changed(
        # Their probabilities are those of the data already.
        class_weights="none",
        sampling="uniform",
        dummy_class=None,
        init=f"{weights.name} ({digest}), adopted as trained",
    )
    derived = Derived(network, normalisation_of(parts["train"]), ())
    divided = Divided(task, spec, samples, tuple(rows), parts)
    return finish_derived(job, finishing, derived, divided)
