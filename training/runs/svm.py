"""``python -m training svm``: a support vector machine on a run's embeddings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cxr.bundles.manifest import WEIGHTS_NAME, Normalisation
from cxr.bundles.run import RUN_NAME
from cxr.errors import DataError, RunError
from cxr.networks import AND, SVM, WITH, build_network
from cxr.networks.network import Network
from cxr.networks.svm import Machines, Svm
from cxr.networks.weights import load_weights
from training.data.samples import Samples
from training.device import Compute
from training.fit.scoring import SCORING_BATCH
from training.runs.derive import (
    Derived,
    DerivingJob,
    Member,
    derived_recipe,
    finish_derived,
    load_divided,
)
from training.runs.job import verify_new

log = logging.getLogger(__name__)

Kernel: TypeAlias = Literal["linear", "rbf"]
Floats: TypeAlias = NDArray[np.float32]

FOLDS = 3
GAMMAS = (0.25, 1.0, 4.0)
"""Candidates, over the length of the embedding: standardised, it is about that long squared."""

STEP, INNER = "svm", "svm__estimator"


def fit_svm_run(member: Member, kernel: Kernel, c: Sequence[float], job: DerivingJob) -> Path:
    """Fit support vector machines on a run's embeddings and finish the result as any run.

    C and gamma are chosen by cross-validation among training patients, so the validation patients
    remain for temperature and operating points. ``kernel`` is ``linear`` or ``rbf``.

    Raises:
        RunError: The run is an ensemble or has machines already, or ``out`` holds a run.
        OutputError: Something else stands at ``out``.
        DataError: The data set is not the run's, or has too few patients.
    """
    verify_new(job.out, RUN_NAME)
    run = member.run
    if AND in run.architecture or WITH in run.architecture:
        raise RunError(f"{member.path} is not a single network: {run.architecture}.")
    body = build_network(run.architecture, len(run.task.classes))
    load_weights(body, member.path / WEIGHTS_NAME)
    architecture = f"{run.architecture}{WITH}{SVM[kernel]}"
    recipe = derived_recipe(member, job, architecture=architecture, init=member.title)
    divided = load_divided(member, recipe, job)
    train = divided.parts["train"]
    embeddings = _embeddings_of(body, train, run.normalisation, job.compute)
    fitted, chosen = fit_svm(embeddings, train, kernel, c)
    log.info("chosen by cross-validation: %s", chosen)
    network = Svm(body, radial=kernel == "rbf")
    network.adopt(machines_of(fitted))
    note = f"A support vector machine ({kernel}, {chosen}) on the embeddings of {member.title}."
    recipe = recipe.changed(notes=(note,))
    return finish_derived(job, recipe, Derived(network, run.normalisation, run.curves), divided)


@torch.inference_mode()
def _embeddings_of(
    network: Network, samples: Samples, normalisation: Normalisation, compute: Compute
) -> Floats:
    compute.place(network).eval()
    found = []
    for pixels in torch.split(torch.from_numpy(samples.pixels), SCORING_BATCH):
        images = (pixels.float() / 255.0 - normalisation.mean) / normalisation.std
        found.append(network.embed(network.features(compute.put(images))).cpu())
    return torch.cat(found).numpy()


def fit_svm(
    embeddings: Floats, train: Samples, kernel: Kernel, c: Sequence[float]
) -> tuple[Pipeline, str]:
    """Fit to embeddings (N, D) of training images, cross-validated by patient.

    Returns the fitted pipeline, and the chosen parameters in words. DataError if there are fewer
    patients than folds.
    """
    if len(set(train.patients)) < FOLDS:
        raise DataError(f"{FOLDS} folds need at least as many training patients.")
    single = len(set(train.labels)) == 2
    machine = SVC(kernel=kernel) if single else OneVsRestClassifier(SVC(kernel=kernel))
    prefix = STEP if single else INNER
    grid: dict[str, list[float]] = {f"{prefix}__C": list(c)}
    if kernel == "rbf":
        grid[f"{prefix}__gamma"] = [gamma / embeddings.shape[1] for gamma in GAMMAS]
    search = GridSearchCV(
        Pipeline([("scaler", StandardScaler()), (STEP, machine)]),
        grid,
        scoring="roc_auc" if single else "accuracy",
        cv=GroupKFold(FOLDS),
    )
    search.fit(embeddings.astype(np.float64), train.labels, groups=train.patients)
    words = [f"{key.rpartition('_')[2]} {value:g}" for key, value in search.best_params_.items()]
    return search.best_estimator_, ", ".join(words)


def machines_of(fitted: Pipeline) -> Machines:
    """Return the numbers of a fitted pipeline, in float64."""
    scaler, machine = fitted["scaler"], fitted[STEP]
    single: list[Any] = getattr(machine, "estimators_", [machine])
    vectors = [one.coef_ if one.kernel == "linear" else one.support_vectors_ for one in single]
    own = [np.ones((1, 1)) if one.kernel == "linear" else one.dual_coef_ for one in single]
    coefficients = np.zeros((len(single), sum(map(len, vectors))))
    start = 0
    for row, values in enumerate(own):
        coefficients[row, start : start + values.shape[1]] = values[0]
        start += values.shape[1]
    gamma = 0.0 if single[0].kernel == "linear" else single[0].gamma
    return Machines(
        centre=torch.from_numpy(scaler.mean_),
        spread=torch.from_numpy(scaler.scale_),
        vectors=torch.from_numpy(np.concatenate(vectors)),
        coefficients=torch.from_numpy(coefficients),
        intercept=torch.from_numpy(np.concatenate([one.intercept_ for one in single])),
        gamma=torch.tensor(gamma),
    )
