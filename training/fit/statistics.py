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


def positive_auroc(
    logits: NDArray[np.float32], labels: NDArray[np.int64], task: Task
) -> float | None:
    """Return the AUROC of the finding against the rest; None if a side is empty."""
    truth = task.is_positive(labels)
    if truth.all() or not truth.any():
        return None
    columns = task.positive_columns
    others = np.delete(logits, columns, axis=1)
    margin = np.logaddexp.reduce(logits[:, columns], axis=1) - np.logaddexp.reduce(others, axis=1)
    return float(roc_auc_score(truth, margin))
