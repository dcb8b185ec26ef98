"""A decoded radiograph and what its container said about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

GrayImage: TypeAlias = NDArray[np.uint8]
"""Shape (H, W), uint8, bone bright (MONOCHROME2 sense)."""

ModelInput: TypeAlias = NDArray[np.uint8]
"""Shape (1, S, S), uint8. A batch of them is (N, 1, S, S)."""


DEFAULT_MAX_PIXELS = 64_000_000
"""Most pixels that a header may declare: four times the largest detectors made (16 Mpx)."""

Projection: TypeAlias = Literal["frontal", "lateral"]
"""Of a chest radiograph; ``lateral`` stands for all that is not frontal."""


@dataclass(frozen=True)
class DicomFacts:
    """Technical facts of a DICOM object, without anything that identifies the patient.

    Codes are upper case, empty if absent, and ``?`` if malformed (PS3.5, value representation CS).
    ``ages_years``, two if the header contradicts itself, are compared with those of the populations
    and never passed on.
    """

    modality: str
    view_position: str
    body_part: str
    photometric_interpretation: str
    transfer_syntax_uid: str
    projection: Projection | None = None
    is_chest: bool = True
    ages_years: tuple[float, ...] = field(default=(), repr=False)
    age_warnings: tuple[str, ...] = ()
    presentation_intent: str = ""
    burned_in_annotation: str = ""


@dataclass(frozen=True)
class Window:
    """A window on modality values (PS3.3 C.11.2.1.2).

    ``function`` is ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """

    center: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True)
class Display:
    """How the values of a monochrome DICOM image became grey levels.

    ``window`` is None if a VOI LUT or the whole range was applied. ``low`` and ``high`` are the
    extreme values after the modality LUT, without padding.
    """

    window: Window | None
    low: float
    high: float


@dataclass(frozen=True)
class DecodedImage:
    """One radiograph, decoded.

    Attributes:
        pixels: The image, smaller than ``(height, width)`` if decoded at a reduced scale.
        format: ``jpeg``, ``png`` or ``dicom``.
        width: Width of the source in pixels.
        height: Height of the source in pixels.
        sha256: Digest of its bytes, lower-case hexadecimal.
        chroma: Mean difference between colour channels in grey levels.
        warnings: Sentences for the sender.
        dicom: Facts of the DICOM header.
        display: How stored values of monochrome DICOM became grey levels.
    """

    pixels: GrayImage
    format: str
    width: int
    height: int
    sha256: str
    chroma: float = 0.0
    warnings: tuple[str, ...] = field(default=())
    dicom: DicomFacts | None = None
    display: Display | None = None
