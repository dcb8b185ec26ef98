"""A class of its own for ambiguous training images, as one of the published projects tried.

A first pass finds them: the training part is halved by patient, a network is trained on each half
and asked about the other, so that no image is judged by a network that learnt it. Those with the
smallest margin between their two likeliest classes become a class of their own; the network learns
with one output more than there are classes. What ships has lost that output: the softmax is over
the real classes again, and nothing that reads the run knows.
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
    """Gives a trainer of a new network; ``work_name`` tells its checkpoint from others."""

    def __call__(self, learnt: Samples, *, work_name: str) -> Trainer:
        """Make one."""


def mark_ambiguous(
    train: Samples, recipe: Recipe, task: Task, make_trainer: MakeTrainer
) -> Samples:
    """Give the training samples with the ambiguous ones labelled ``len(task.classes)``.

    Args:
        train: The training part.
        recipe: With its ``dummy_class``.
        task: What the classes are.
        make_trainer: Makes the trainers of the first pass.

    Raises:
        DataError: Too few patients to halve them.
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
    """Give how far the likeliest class is ahead of the next, shape (N,), in [0, 1]."""
    ordered = np.sort(softmax(logits.astype(np.float64), axis=1), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


@torch.no_grad()
def drop_dummy(network: Network, outputs: int) -> None:
    """Leave a network only its first outputs.

    Args:
        network: Its classifier is replaced.
        outputs: As many as the task has classes.
    """
    wide = network.get_submodule(network.classifier)
    assert isinstance(wide, torch.nn.Linear)
    narrow = torch.nn.Linear(wide.in_features, outputs, device=wide.weight.device)
    narrow.weight.copy_(wide.weight[:outputs])
    narrow.bias.copy_(wide.bias[:outputs])
    network.set_submodule(network.classifier, narrow)
