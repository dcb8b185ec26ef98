"""Search a recipe's fields with Optuna, on training and validation patients only."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from cxr.bundles.run import EpochRecord
from cxr.errors import RunError
from training.experiments.search.report import write_results
from training.experiments.search.space import Space, recipe_toml, vary
from training.fit.trainer import AfterEpoch
from training.recipe import Recipe

log = logging.getLogger(__name__)

DATABASE = "search.db"
BEST = "best.toml"
WORK = "trials"
STUDY = "search"
IDENTITY = "identity"
RETRY_OF = "retry_of"
REFUSED = "refused"

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
STARTUP_TRIALS = 4  # whole ones before a median says anything
WARMUP_EPOCHS = 1

Sampling: TypeAlias = Literal["tpe", "random", "grid"]
Pruning: TypeAlias = Literal["median", "hyperband", "none"]

Learn: TypeAlias = Callable[[Recipe, Path, AfterEpoch], Sequence[EpochRecord]]
"""Trains by a recipe with its checkpoint in a folder, and gives the curves."""


@dataclass(frozen=True)
class SearchPlan:
    """What is searched, and how.

    ``sampler`` is ``tpe``, ``random`` or ``grid``; ``pruner`` is ``median``, ``hyperband`` or
    ``none``.
    """

    recipe: Recipe
    space: Space
    trials: int
    sampler: Sampling
    pruner: Pruning
    out: Path
    figure: Literal["val_auroc", "val_accuracy"]
    data: str

    @property
    def identity(self) -> str:
        """Digest of everything but the number of trials."""
        space = {field: kind.model_dump(mode="json") for field, kind in self.space.items()}
        parts = [self.recipe.model_dump(mode="json"), space, self.sampler, self.figure, self.data]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def search(plan: SearchPlan, learn: Learn) -> Path:
    """Search until enough trials are finished, and return the best recipe's file.

    A stopped search resumes. An interrupted trial counts as failed and is retried first, from its
    checkpoint.

    RunError if the folder holds another search, one is running there, or no trial finished.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # ours tell the same, shorter
    with _alone(plan.out):
        study = _open_study(plan)
        _retry_interrupted(study)
        missing = _missing(study, plan.trials)
        if missing > 0:
            study.optimize(
                lambda trial: _try(trial, plan, learn), n_trials=missing, catch=(RunError,)
            )
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            raise RunError(f"No trial in {plan.out} was finished. Increase --trials.")
        best = study.best_trial
        note = (
            f"Found by search: trial {best.number} of {len(study.trials)} ({plan.sampler}), "
            f"{plan.figure} {best.value:.4f} on the validation patients."
        )
        found = vary(plan.recipe, best.params)
        found = found.changed(notes=(*found.notes, note))
        (plan.out / BEST).write_text(recipe_toml(found))
        write_results(study, plan.figure, plan.out)
    return plan.out / BEST


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """A second search would take the running trial for an interrupted one."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"Another search is running in {out}.") from None
        yield


def _open_study(plan: SearchPlan) -> optuna.Study:
    study = optuna.create_study(
        storage=f"sqlite:///{plan.out / DATABASE}",
        study_name=STUDY,
        direction="maximize",
        load_if_exists=True,
        pruner=_pruner(plan.pruner),
    )
    if study.user_attrs.setdefault(IDENTITY, plan.identity) != plan.identity:
        raise RunError(
            f"{plan.out} holds a search of another recipe, space, sampler or data set. "
            "Choose another --out."
        )
    study.set_user_attr(IDENTITY, plan.identity)
    # A sampler that began with the same seed again would repeat what it has chosen.
    study.sampler = _sampler(plan, plan.recipe.seed + len(study.trials))
    return study


def _sampler(plan: SearchPlan, seed: int) -> BaseSampler:
    if plan.sampler == "grid":
        grid: dict[str, Any] = {field: kind.grid() for field, kind in plan.space.items()}
        return GridSampler(grid, seed=plan.recipe.seed)
    return RandomSampler(seed) if plan.sampler == "random" else TPESampler(seed=seed)


def _pruner(name: Pruning) -> BasePruner:
    if name == "none":
        return NopPruner()
    if name == "hyperband":
        return HyperbandPruner()
    return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS)


def _missing(study: optuna.Study, wanted: int) -> int:
    missing = wanted - len(study.get_trials(deepcopy=False, states=FINISHED))
    if isinstance(study.sampler, GridSampler) and study.sampler.is_exhausted(study):
        waiting = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
        return min(missing, waiting)
    return missing


def _retry_interrupted(study: optuna.Study) -> None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)  # its process was killed
    retried = {trial.user_attrs.get(RETRY_OF) for trial in study.get_trials(deepcopy=False)}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if trial.params and trial.number not in retried and REFUSED not in trial.user_attrs:
            study.enqueue_trial(dict(trial.params), user_attrs={RETRY_OF: trial.number})
            log.info("trial %d was interrupted and is tried again", trial.number)


def _try(trial: Trial, plan: SearchPlan, learn: Learn) -> float:
    values = {field: kind.suggest(trial, field) for field, kind in plan.space.items()}
    recipe = vary(plan.recipe, values)
    digest = hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()
    work = plan.out / WORK / digest[:16]
    work.mkdir(parents=True, exist_ok=True)
    told = 0

    def watch(curves: Sequence[EpochRecord]) -> None:
        nonlocal told
        for epoch in range(told, len(curves)):
            trial.report(_figure(curves[epoch], plan), epoch)
        told = len(curves)
        if told < sum(phase.epochs for phase in recipe.phases) and trial.should_prune():
            raise optuna.TrialPruned

    try:
        curves = learn(recipe, work, watch)
    except RunError as error:
        trial.set_user_attr(REFUSED, str(error))
        log.warning("trial %d cannot be trained: %s: %s", trial.number, values, error)
        raise
    except optuna.TrialPruned:
        log.info("trial %d pruned after %d epochs: %s", trial.number, told, values)
        shutil.rmtree(work)
        raise
    value = _figure(curves[-1], plan)
    log.info("trial %d: %s %.4f: %s", trial.number, plan.figure, value, values)
    shutil.rmtree(work)
    return value


def _figure(record: EpochRecord, plan: SearchPlan) -> float:
    value = record.val_auroc if plan.figure == "val_auroc" else record.val_accuracy
    if value is None:
        raise RunError(f"{plan.figure} is not defined: the validation part lacks a class.")
    return value
