"""The numbers of the page, as JSON."""

from __future__ import annotations

from typing import Literal

from cxr.metrics.estimate import Estimate
from cxr.section import Section


class Count(Section):
    """Images and patients of one class in one folder."""

    folder: str
    label: str
    images: int
    patients: int
    bacterial: int
    viral: int


class Spread(Section):
    """Percentiles of one number."""

    smallest: float
    p5: float
    median: float
    p95: float
    largest: float


class Sizes(Section):
    """Image sizes of one class."""

    label: str
    width: Spread
    height: Spread
    aspect: Spread
    file_bytes: Spread


class GreyLevels(Section):
    """Pixel histogram of one class in 64 steps from black to white.

    ``low`` and ``high`` enclose 80 % of the images.
    """

    label: str
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    mean_level: float


class SamePixels(Section):
    """Files with the same pixels."""

    names: tuple[str, ...]
    crosses_folders: bool
    crosses_classes: bool
    crosses_patients: bool


class NearPair(Section):
    """Two files with nearly the same picture."""

    first: str
    second: str
    correlation: float
    mirrored: bool
    crosses_folders: bool
    crosses_classes: bool
    crosses_patients: bool


class SharedPatient(Section):
    """A patient in several folders."""

    patient: str
    images: dict[str, int]


class Patients(Section):
    """Images per patient, and patients in several folders."""

    patients: int
    images_per_patient: Spread
    by_number_of_images: dict[int, int]
    in_several_folders: tuple[SharedPatient, ...]
    in_several_classes: int


class Shortcut(Section):
    """One clue alone.

    The AUROC is at least 0.5, whichever way it points; ``larger_in`` is None for a constant.
    """

    clue: str
    title: str
    auroc: Estimate
    larger_in: str | None


class Shortcuts(Section):
    """What separates two sides without looking at a lung.

    ``together`` is a logistic regression over all clues on unseen patients; None if too few.
    """

    question: str
    positives: int
    negatives: int
    alone: tuple[Shortcut, ...]
    together: Estimate | None
    folds: int


class Examples(Section):
    """Typical and atypical images of one class."""

    label: str
    medoid: str
    typical: tuple[str, ...]
    atypical: tuple[str, ...]


class Lookalike(Section):
    """Two very similar images of different classes."""

    first: str
    second: str
    first_label: str
    second_label: str
    correlation: float


class Exploration(Section):
    """The content of ``exploration.json``."""

    schema_version: Literal[1] = 1
    data: tuple[str, ...]
    images: int
    classes: tuple[str, ...]
    folders: tuple[str, ...]
    formats: dict[str, int]
    unreadable: dict[str, str]
    counts: tuple[Count, ...]
    sizes: tuple[Sizes, ...]
    grey_levels: tuple[GreyLevels, ...]
    same_pixels: tuple[SamePixels, ...]
    near: tuple[NearPair, ...]
    near_threshold: float
    patients: Patients
    shortcuts: tuple[Shortcuts, ...]
    examples: tuple[Examples, ...]
    lookalikes: tuple[Lookalike, ...]
