"""Numbers that the training loop takes from samples and logits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cxr.bundles.manifest import Normalisation
from cxr.data.labels import Task
from training.data.samples import Samples


def normalisation_of(samples: Samples) -> Normalisation:
    """Return mean and standard deviation of the pixels, in [0, 1]."""
    scaled = samples.pixels.astype(np.float32) / 255.0
    return Normalisation(mean=float(scaled.mean()), std=float(scaled.std()))


def class_weights(samples: Samples, task: Task, mode: str) -> torch.Tensor:
    """Return the weights of the classes in the loss, shape (K,), mean 1 over the samples.

    ``balanced`` gives every class the same total weight.
    """
    counts = np.bincount(samples.labels, minlength=len(task.classes)).astype(np.float64)
    if mode == "none":
        return torch.ones(len(counts))
    return torch.tensor(counts.sum() / (len(counts) * counts), dtype=torch.float32)


def population_chances(samples: Samples) -> NDArray[np.float64]:
    """Return the chance of each sample to be drawn, shape (N,), with sum 1.

    Populations come equally often. Their classes come as often as they do, so that the network's
    probabilities are those of each population, which it can tell apart.
    """
    names, places, counts = np.unique(samples.populations, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(names) * counts[places]))


def positive_auroc(
    logits: NDArray[np.float32], labels: NDArray[np.int64], task: Task
) -> float | None:
    """Return the AUROC of the finding against the rest; None if a side is empty."""
    truth = task.is_positive(labels)
    if truth.all() or not truth.any():
        return None
    return float(roc_auc_score(truth, margin_of(torch.from_numpy(logits), task).numpy()))


def margin_of(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """Return the finding's logit less that of its absence, (N,), for logits (N, K)."""
    columns = task.positive_columns
    others = [column for column in range(len(task.classes)) if column not in columns]
    return logits[:, columns].logsumexp(dim=1) - logits[:, others].logsumexp(dim=1)
