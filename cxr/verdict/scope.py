"""Is this picture the kind of image the model was made for? Plain checks of pixels and tags.

What has to be learnt from images is asked of :mod:`cxr.verdict.scope_gate`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cxr.pixels.image import DecodedImage, DicomFacts

FRONTAL_MODALITIES = frozenset({"CR", "DX", "DR", "XR", "RF", "RG", "OT", "SC", ""})
"""Modalities under which archives really hold projection radiographs of the chest."""

MIN_CONTRAST = 8.0
"""Standard deviation, in grey levels, below which a picture shows nothing.

Radiographs of the training set lie between 19 and 88.
"""

CONTRAST_STRIDE = 4
"""Of every so many rows and columns one is looked at: the same figure in a tenth of the time."""

MAX_CHROMA = 12.0
"""Mean spread of the colour channels, in grey levels, above which a picture is a colour one.

Grey radiographs stored as colour JPEG stay near 0.
"""

MAX_ASPECT = 3.0
"""Longer over shorter side.

Original images of the training set lie between 1 and 2, adult ones between 1 and 1.3.
"""


BLANK = "The image is blank or almost without contrast."
COLOURED = "The image is in colour; radiographs are grey."
LATERAL = "The DICOM view position is lateral; the model reads frontal views."


@dataclass(frozen=True)
class Scope:
    """Whether an image is in scope and, if not, why. Reasons are sentences."""

    in_scope: bool
    reasons: tuple[str, ...]


def assess_scope(image: DecodedImage) -> Scope:
    """Judge one decoded image by its pixels and, if it is DICOM, by its tags.

    Absent DICOM attributes are no reason to doubt an image; contradicting ones are.
    """
    reasons = [*_pixel_reasons(image), *_dicom_reasons(image)]
    return Scope(in_scope=not reasons, reasons=tuple(reasons))


def age_warnings(facts: DicomFacts | None, ages_years: tuple[float, float] | None) -> list[str]:
    """Warn if the DICOM header gives an age on which the model was not trained.

    Args:
        facts: Of the DICOM header, None for other formats.
        ages_years: Youngest and oldest patients trained on, None if that is not known. Who is
            five has had the fifth birthday and not the sixth.
    """
    if facts is None or facts.age_years is None or ages_years is None:
        return []
    youngest, oldest = ages_years
    if youngest <= facts.age_years < oldest + 1:
        return []
    return [
        f"The patient's age is outside the range the model was trained on ({youngest:g} to "
        f"{oldest:g} years); its probability is less reliable."
    ]


def _pixel_reasons(image: DecodedImage) -> list[str]:
    reasons = []
    if float(image.pixels[::CONTRAST_STRIDE, ::CONTRAST_STRIDE].std()) < MIN_CONTRAST:
        reasons.append(BLANK)
    if image.chroma > MAX_CHROMA:
        reasons.append(COLOURED)
    longer, shorter = max(image.width, image.height), min(image.width, image.height)
    if longer > MAX_ASPECT * shorter:
        reasons.append("The image is far longer than wide; a chest radiograph is not.")
    return reasons


def _dicom_reasons(image: DecodedImage) -> list[str]:
    facts = image.dicom
    if facts is None:
        return []
    reasons = []
    if facts.modality not in FRONTAL_MODALITIES:
        reasons.append("The DICOM modality is not a projection radiograph's.")
    if not facts.is_chest:
        reasons.append("The DICOM body part is not the chest.")
    if facts.projection == "lateral":
        reasons.append(LATERAL)
    return reasons
