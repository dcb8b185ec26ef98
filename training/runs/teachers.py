"""Answers of finished runs, for a network to learn from.

Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.run import open_run
from cxr.data.labels import Task
from cxr.errors import RunError
from cxr.networks import build_network
from cxr.networks.weights import load_weights
from training.data.samples import Samples
from training.device import Compute
from training.fit.scoring import score
from training.reliability.calibrate import probabilities_of


def ask_teachers(
    teachers: Sequence[Path], samples: Samples, task: Task, compute: Compute
) -> NDArray[np.float32]:
    """Return the mean of the teachers' calibrated probabilities, mirror image included: (N, K).

    Raises:
        RunError: There is no teacher, or one answers another question or is damaged.
    """
    if not teachers:
        raise RunError("The recipe learns from teachers: give --teacher RUN, once for each.")
    answers = []
    for path in teachers:
        run = open_run(path)
        if run.task.as_task() != task:
            raise RunError(f"The teacher {path} answers another question than the recipe.")
        network = build_network(run.architecture, len(task.classes))
        load_weights(network, path / WEIGHTS_NAME)
        logits = score(
            compute.place(network), samples.pixels, run.normalisation, compute, mirror=True
        )
        answers.append(probabilities_of(logits, run.calibration.temperature))
    return np.mean(answers, axis=0).astype(np.float32)


def titled(path: Path) -> str:
    """Return a run's name, version and digest of its weights."""
    run = open_run(path)
    return f"{run.name} {run.version} ({run.weights_sha256[:12]})"
