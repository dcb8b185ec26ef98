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


Projection: TypeAlias = Literal["frontal", "lateral"]
"""Of a chest radiograph; ``lateral`` stands for all that is not frontal."""


@dataclass(frozen=True)
class DicomFacts:
    """What may be known of a DICOM object without knowing anything of the patient.

    Codes that are none by their form (PS3.5, value representation CS) are ``?``.

    Attributes:
        modality: (0008,0060), upper case, empty if absent.
        view_position: (0018,5101), else from its code (0054,0220); upper case, empty if absent.
        body_part: (0018,0015), upper case, empty if absent.
        photometric_interpretation: (0028,0004).
        projection: Named by the view position, its code or the body part; None if none is known.
        is_chest: Whether the body part is the chest, or is not named.
        transfer_syntax_uid: (0002,0010).
        age_years: Of the patient; compared with the ages trained on and told to nobody.
        presentation_intent: (0008,0068), upper case, empty if absent.
        burned_in_annotation: (0028,0301), upper case, empty if absent.
    """

    modality: str
    view_position: str
    body_part: str
    photometric_interpretation: str
    transfer_syntax_uid: str
    projection: Projection | None = None
    is_chest: bool = True
    age_years: float | None = field(default=None, repr=False)
    presentation_intent: str = ""
    burned_in_annotation: str = ""


@dataclass(frozen=True)
class Window:
    """A window on modality values (PS3.3 C.11.2.1.2).

    Attributes:
        center: Window Center (0028,1050), in units after the modality LUT.
        width: Window Width (0028,1051), above 0.
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """

    center: float
    width: float
    function: str = "LINEAR"


@dataclass(frozen=True)
class Display:
    """How the values of a monochrome DICOM image became grey levels.

    Attributes:
        window: The window that was applied; None if a VOI LUT or the whole range was.
        low: Lowest value that occurs, in units after the modality LUT, padding left out.
        high: Highest such value.
    """

    window: Window | None
    low: float
    high: float


@dataclass(frozen=True)
class DecodedImage:
    """One radiograph, decoded.

    Attributes:
        pixels: The image. May have been decoded at a reduced scale, so its shape can be
            smaller than ``(height, width)``.
        format: ``jpeg``, ``png`` or ``dicom``.
        width: Width of the source in pixels.
        height: Height of the source in pixels.
        sha256: Of the bytes it was decoded from, lower-case hexadecimal.
        chroma: Mean difference between colour channels in grey levels, 0 for a grey source.
        warnings: Sentences for the person who sent it.
        dicom: Facts of the DICOM header, None for other formats.
        display: How stored values became grey levels, None unless monochrome DICOM.
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
