"""Train a run."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.bundles.manifest import SyntheticImages
from cxr.bundles.run import RUN_NAME
from cxr.data.labels import Task, task_named
from cxr.data.split import PARTS, list_divided, list_pool, read_split_file
from cxr.images.decoding import Preprocessing
from cxr.networks import build_network
from training.data.samples import Samples, load_samples
from training.data.sources import populations_of, verify_sources, without_sources
from training.data.split import samples_of, split_as_before
from training.data.split_kinds import folders_of, make_split
from training.data.synthetic import combine, load_synthetic, open_synthetic
from training.fit.dummy_class import drop_dummy, mark_ambiguous
from training.fit.initialise import InitReport, initialise
from training.fit.segmenter import find_lungs, load_segmenter
from training.fit.trainer import Trainer
from training.runs.finish import write_run
from training.runs.job import TrainingJob, verify_new
from training.runs.provenance import FROM_SCRATCH, provenance_of
from training.runs.teachers import ask_teachers, titled

log = logging.getLogger(__name__)


def run_training(job: TrainingJob, restart: bool = False) -> Path:
    """Train, calibrate, choose operating points, measure, and write the run directory.

    With several processes only rank 0 writes it.

    Raises:
        RunError: The run exists, or the checkpoint is another training's.
        OutputError: The place is taken.
        DataError: The data set is unusable.
    """
    verify_new(job.out, RUN_NAME)
    if restart and job.world.is_main:
        shutil.rmtree(job.work_dir, ignore_errors=True)
    job.world.wait()
    job.work_dir.mkdir(parents=True, exist_ok=True)
    make_deterministic(job.recipe.seed)

    recipe, task = job.recipe, task_named(job.recipe.task)
    spec = Preprocessing(size_px=recipe.size_px, min_side_px=recipe.min_side_px)
    before = None if job.split_file is None else read_split_file(job.split_file)
    images = (
        list_pool(job.data, task, folders_of(recipe.split))
        if before is None
        else list_divided(job.data, task, [row.name for row in before])
    )
    verify_sources(images, recipe, job.left_out)
    samples = load_samples(
        images,
        spec,
        task,
        workers=os.cpu_count() or 1,
        quiet=job.quiet or not job.world.is_main,
    )
    rows = (
        make_split(samples, recipe.split, recipe.seed, task)
        if before is None
        else split_as_before(samples, before, task)
    )
    samples = replace(samples, populations=populations_of(samples, recipe))
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    parts["train"] = without_sources(parts["train"], job.left_out)
    log.info("images: %s", ", ".join(f"{part} {len(parts[part])}" for part in PARTS))

    made, origin = None, None
    if job.synthetic is not None:
        made = load_synthetic(job.synthetic, spec, task, rows, quiet=job.quiet)
        made = replace(made, populations=populations_of(made, recipe))
        origin = _origin(job.synthetic, made, task)
        log.info("made images in the train part: %d", len(made))

    lungs, taught = _guidance(
        job, task, parts["train"] if made is None else combine(parts["train"], made)
    )
    digest, inits = samples.data_digest(), list[str]()

    def make_trainer(learnt: Samples, outputs: int, work_name: str = "") -> Trainer:
        torch.manual_seed(recipe.seed)  # whatever was trained before
        network = build_network(recipe.architecture, outputs)
        init = initialise(network, job.init)
        inits.append(_init_text(init))
        work_dir = job.work_dir / work_name
        work_dir.mkdir(exist_ok=True)
        return Trainer(
            network,
            recipe,
            task,
            learnt,
            parts["val"],
            job.compute,
            job.world,
            work_dir,
            fingerprint=f"{digest} {init.source} {init.loaded}{origin or ''}"
            f"{job.teachers or ''}{job.left_out or ''}",
            quiet=job.quiet,
            made=made,
            lungs=lungs,
            taught=taught,
        )

    count = len(task.classes)
    if recipe.dummy_class is None:
        trainer = make_trainer(parts["train"], count)
        trainer.run()
    else:
        first_pass = partial(make_trainer, outputs=count)
        marked = mark_ambiguous(parts["train"], recipe, task, first_pass)
        trainer = make_trainer(marked, count + 1)
        trainer.run()
        drop_dummy(trainer.result, count)
    if job.world.is_main:
        teachers = tuple(map(titled, job.teachers)) if recipe.teachers else ()
        provenance = provenance_of(recipe, inits[-1], digest, parts, origin, teachers)
        write_run(job, task, spec, trainer, parts, rows, provenance)
        shutil.rmtree(job.work_dir)
    job.world.wait()
    return job.out


def _guidance(
    job: TrainingJob, task: Task, learnt: Samples
) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None]:
    """Return lungs and teachers' answers of the samples, each None if the recipe wants none."""
    lungs, taught = None, None
    if job.recipe.lungs is not None:
        lungs = find_lungs(load_segmenter(job.lungs), learnt.pixels)
    if job.recipe.teachers:
        taught = ask_teachers(job.teachers, learnt, task, job.compute)
    return lungs, taught


def make_deterministic(seed: int) -> None:
    """Make torch reproducible for the same seed, device and number of threads."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # we read none, and it costs
    torch.backends.cudnn.benchmark = False


def _origin(directory: Path, made: Samples, task: Task) -> SyntheticImages:
    about = open_synthetic(directory)
    return SyntheticImages(
        generator=about.generator,
        generator_sha256=about.generator_sha256,
        images={name: int((made.labels == i).sum()) for i, name in enumerate(task.classes)},
        data_digest=made.data_digest(),
    )


def _init_text(init: InitReport) -> str:
    if init.source == "none":
        return FROM_SCRATCH
    missing = f", {len(init.missing)} not found" if init.missing else ""
    return f"{init.source} ({init.loaded} tensors{missing})"
