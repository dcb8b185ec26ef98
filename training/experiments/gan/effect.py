"""The effect of synthetic images on a classifier."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.data.dataset import DataSets
from cxr.data.labels import Task, task_named
from cxr.data.split import PARTS, SPLIT_NAME, list_divided, read_split_file
from cxr.errors import RunError
from cxr.images.decoding import Preprocessing
from cxr.metrics.classes import macro_auroc
from cxr.networks import build_network
from training.data.samples import Samples, load_samples
from training.data.split import samples_of, split_as_before
from training.data.synthetic import SyntheticSet, load_synthetic, open_synthetic
from training.device import Compute
from training.distributed import World
from training.experiments.gan.arms import ARMS, Addition, additions, choose
from training.experiments.gan.effect_result import ArmResult, Effect, summarise, write_effect
from training.experiments.gan.sampling import stream_seed
from training.fit.scoring import score
from training.fit.trainer import Trainer
from training.recipe import Recipe
from training.reliability.calibrate import probabilities_of
from training.runs.train import make_deterministic

log = logging.getLogger(__name__)

CLASSIFIER = Path(__file__).parent / "classifier.toml"


@dataclass(frozen=True)
class EffectJob:
    """What to compare.

    ``seeds`` replace the recipe's. ``each`` is the number of every class in the arm ``even``;
    ``minority`` is the class filled up in that arm, None for the smallest.
    """

    recipe: Recipe
    data: DataSets
    synthetic: Path
    out: Path
    compute: Compute
    seeds: tuple[int, ...] = (0, 1, 2)
    each: int = 500
    minority: str | None = None
    quiet: bool = False


@dataclass(frozen=True)
class _Material:
    task: Task
    train: Samples
    val: Samples
    test: Samples
    made: Samples
    about: SyntheticSet
    digest: str


def measure_effect(job: EffectJob) -> Effect:
    """Train every missing arm and seed, and write ``effect.json`` and ``effect.md``.

    The arms differ only in the train part. Larger ones train for fewer epochs, so that all take
    about as many steps.

    Raises:
        RunError: The folder holds another comparison.
        DataError: Data or synthetic images are unusable.
    """
    material = _load(job)
    takes = additions(material.train, material.made, material.task, job.each, job.minority)
    results = []
    for seed in job.seeds:
        for arm in ARMS:
            results.append(_result(job, material, arm, takes[arm], seed))
    effect = Effect(
        task=material.task.name,
        recipe=job.recipe.model_dump(mode="json"),
        synthetic=material.about,
        test_images=len(material.test),
        results=tuple(results),
        arms=summarise(results),
    )
    write_effect(effect, job.out)
    return effect


def _load(job: EffectJob) -> _Material:
    task = task_named(job.recipe.task)
    spec = Preprocessing(size_px=job.recipe.size_px, min_side_px=job.recipe.min_side_px)
    before = read_split_file(job.synthetic / SPLIT_NAME)
    images = list_divided(job.data, task, [row.name for row in before])
    samples = load_samples(images, spec, task, workers=os.cpu_count() or 1, quiet=job.quiet)
    rows = split_as_before(samples, before, task)
    made = load_synthetic(job.synthetic, spec, task, rows, quiet=job.quiet)
    parts = {part: samples_of(samples, rows, part) for part in PARTS}
    about = open_synthetic(job.synthetic)
    text = f"{samples.data_digest()} {made.data_digest()} {rows} {job.each} {job.minority}"
    return _Material(
        task,
        parts["train"],
        parts["val"],
        parts["test"],
        made,
        about,
        hashlib.sha256(text.encode()).hexdigest(),
    )


def _result(
    job: EffectJob, material: _Material, arm: str, addition: Addition, seed: int
) -> ArmResult:
    recipe = job.recipe.model_copy(update={"seed": seed})
    text = f"{recipe.model_dump_json(exclude={'notes'})} {material.digest} {arm}"
    identity = hashlib.sha256(text.encode()).hexdigest()
    file = job.out / "results" / f"{arm}-{seed}.json"
    if file.is_file():
        done = ArmResult.model_validate_json(file.read_bytes())
        if done.identity != identity:
            raise RunError(
                f"{file} belongs to another recipe or other images. Choose another --out."
            )
        return done
    made = choose(material.made, addition, material.task, stream_seed(seed, "draw"))
    recipe = shortened(recipe, len(material.train), 0 if made is None else len(made))
    work_dir = job.out / "results" / f".{arm}-{seed}.training"
    work_dir.mkdir(parents=True, exist_ok=True)
    make_deterministic(seed)
    trainer = Trainer(
        build_network(recipe.architecture, len(material.task.classes)),
        recipe,
        material.task,
        material.train,
        material.val,
        job.compute,
        World(),
        work_dir,
        fingerprint=identity,
        quiet=job.quiet,
        made=made,
    )
    trainer.run()
    logits = score(
        trainer.result,
        material.test.pixels,
        trainer.normalisation,
        job.compute.exact,
        recipe.mirror,
    )
    result = ArmResult(
        identity=identity,
        arm=arm,
        seed=seed,
        real_images=len(material.train),
        made_images=addition.images,
        steps=trainer.steps_per_epoch * len(trainer.curves),
        seconds=sum(record.seconds for record in trainer.curves),
        figures=figures_of(material.test.labels, probabilities_of(logits, 1.0), material.task),
    )
    staging = file.with_suffix(".tmp")
    staging.write_text(result.model_dump_json(indent=2) + "\n")
    staging.replace(file)
    shutil.rmtree(work_dir)
    log.info("%s, seed %d: %s", arm, seed, result.figures)
    return result


def shortened(recipe: Recipe, real: int, made: int) -> Recipe:
    """Reduce the epochs so that ``made`` more images take about as many steps."""
    phases = tuple(
        phase.model_copy(update={"epochs": max(1, round(phase.epochs * real / (real + made)))})
        for phase in recipe.phases
    )
    return recipe.model_copy(update={"phases": phases})


def figures_of(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], task: Task
) -> dict[str, float]:
    """Return accuracy, macro AUROC and recalls for labels (N,) and probabilities (N, K)."""
    right = probabilities.argmax(axis=1) == labels
    figures = {"accuracy": float(right.mean()), "macro AUROC": macro_auroc(labels, probabilities)}
    for label, name in enumerate(task.classes):
        figures[f"recall {name}"] = float(right[labels == label].mean())
    return figures
