"""The kinds of split a recipe may ask for.

``patient`` pools the ``train`` and ``val`` folders and divides them by patient; ``test`` is never
touched. With ``folds`` each patient is tested once.

``official`` keeps the folders. A ``val`` folder too small to choose anything on joins ``train``,
and a share of the training patients validates instead.

``patient_80_10_10`` pools all folders, ``test`` included; its figures cannot be compared with the
official test's.
"""

from __future__ import annotations

import logging

import numpy as np

from cxr.data.dataset import SPLIT_FOLDERS
from cxr.data.labels import Task
from cxr.data.split import POOL_FOLDERS, SplitRow, folder_of
from cxr.errors import DataError
from training.data.samples import Samples
from training.data.split import group_samples, split_by_patient, verify_classes
from training.recipe import SplitSpec

log = logging.getLogger(__name__)

MIN_VAL_IMAGES = 20
"""Of each class: with fewer no threshold can be chosen. Kaggle's folder has 8."""


def folders_of(spec: SplitSpec) -> tuple[str, ...]:
    """Return the folders that a kind of split reads."""
    return POOL_FOLDERS if spec.kind == "patient" else SPLIT_FOLDERS


def make_split(samples: Samples, spec: SplitSpec, seed: int, task: Task) -> list[SplitRow]:
    """Divide the samples of :func:`folders_of` as a recipe asks.

    Raises:
        DataError: A part would lack a class, or there is no test folder.
    """
    if spec.kind == "official":
        return _split_by_folder(samples, spec, seed, task)
    if spec.kind == "patient_80_10_10":
        spec = spec.model_copy(update={"val": 0.1, "test": 0.1})
    return split_by_patient(samples, spec, seed, task)


def _split_by_folder(samples: Samples, spec: SplitSpec, seed: int, task: Task) -> list[SplitRow]:
    """Keep the folders as parts.

    Images with the pixels of a test image are left out, and so are training images that share a
    patient or pixels with the validation folder. Patient names are not compared with those of
    ``test``, whose numbering may begin anew.

    Raises:
        DataError: There is no test folder, or a part would lack a class.
    """
    folders = np.array([folder_of(str(name)) for name in samples.names])
    digests = np.array(samples.pixel_digests())
    held = folders == "test"
    if not held.any():
        raise DataError("The official split needs the data set's test folder, which is missing.")
    kept = ~held & ~np.isin(digests, digests[held])
    has_val = _is_enough(samples.labels[kept & (folders == "val")], task)
    if has_val:
        groups = group_samples(list(samples.patients[kept]), list(digests[kept]))
        watched = np.isin(groups, groups[folders[kept] == "val"])
        kept[np.flatnonzero(kept)[watched & (folders[kept] == "train")]] = False
    if left_out := int((~kept & ~held).sum()):
        log.warning("%d images are left out: they are held out in another folder, too", left_out)
    rows = [
        SplitRow(
            str(samples.names[i]),
            task.classes[samples.labels[i]],
            str(samples.patients[i]),
            "test" if held[i] else "val" if folders[i] == "val" else "train",
        )
        for i in np.flatnonzero(held | (kept & has_val))
    ]
    if not has_val:
        learnt = samples.take(np.flatnonzero(kept))
        carved = spec.model_copy(update={"test": 0.0})
        rows += split_by_patient(learnt, carved, seed, task)
    verify_classes(rows, has_test=True, task=task)
    return rows


def _is_enough(labels: np.ndarray, task: Task) -> bool:
    return bool(np.bincount(labels, minlength=len(task.classes)).min() >= MIN_VAL_IMAGES)
