"""A separate class for ambiguous training images.

The train part is halved by patient, and each half is judged by a network trained on the other, so
no image is judged by a network that learnt it. The images with the smallest margin between their
two likeliest classes become an extra class. Its output is dropped at the end: the softmax is over
the real classes again.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from cxr.data.labels import Task
from cxr.networks.network import Network
from training.data.samples import Samples
from training.data.split import samples_of, split_by_patient
from training.fit.scoring import score
from training.fit.trainer import Trainer
from training.recipe import Recipe, SplitSpec

log = logging.getLogger(__name__)

HALVES = 2


class MakeTrainer(Protocol):
    """Makes a trainer of a new network; ``work_name`` separates its checkpoint from others."""

    def __call__(self, learnt: Samples, *, work_name: str) -> Trainer:
        """Make one."""


def mark_ambiguous(
    train: Samples, recipe: Recipe, task: Task, make_trainer: MakeTrainer
) -> Samples:
    """Return the samples with the ambiguous ones labelled ``len(task.classes)``.

    ``recipe``: Has a ``dummy_class``.

    Raises:
        DataError: There are too few patients.
    """
    assert recipe.dummy_class is not None
    margins = np.full(len(train), np.nan)
    for half in range(HALVES):
        spec = SplitSpec(folds=HALVES, fold=half)
        rows = split_by_patient(train, spec, recipe.seed, task)
        asked = np.isin(train.names, samples_of(train, rows, "test").names)
        log.info("first pass %d of %d: %d images to judge", half + 1, HALVES, int(asked.sum()))
        trainer = make_trainer(train.take(np.flatnonzero(~asked)), work_name=f"first-{half}")
        trainer.run()
        logits = score(
            trainer.result,
            train.pixels[asked],
            trainer.normalisation,
            trainer.compute.exact,
            recipe.mirror,
        )
        margins[asked] = margins_of(logits)
    chosen = np.argsort(margins, kind="stable")[: round(recipe.dummy_class.share * len(train))]
    labels = train.labels.copy()
    labels[chosen] = len(task.classes)
    counts = np.bincount(train.labels[chosen], minlength=len(task.classes))
    told = ", ".join(f"{n} {name}" for n, name in zip(counts, task.classes, strict=True))
    log.info("%d ambiguous images: %s", len(chosen), told)
    return replace(train, labels=labels)


def margins_of(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the likeliest class's lead over the next, shape (N,), in [0, 1]."""
    ordered = np.sort(softmax(logits.astype(np.float64), axis=1), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


@torch.no_grad()
def drop_dummy(network: Network, outputs: int) -> None:
    """Keep only the first outputs of a network's classifier."""
    wide = network.get_submodule(network.classifier)
    assert isinstance(wide, torch.nn.Linear)
    narrow = torch.nn.Linear(wide.in_features, outputs, device=wide.weight.device)
    narrow.weight.copy_(wide.weight[:outputs])
    narrow.bias.copy_(wide.bias[:outputs])
    network.set_submodule(network.classifier, narrow)
