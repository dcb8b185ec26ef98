"""Why a picture is out of scope. Imports the standard library only, for clients."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """Why a picture is out of scope: a stable word for programs, and a sentence."""

    code: str
    text: str


BLANK = Reason("blank", "The image is blank or almost without contrast.")
COLOURED = Reason("coloured", "The image is in colour; radiographs are grey.")
ELONGATED = Reason("elongated", "The image is far longer than wide; a chest radiograph is not.")
MODALITY = Reason("modality", "The DICOM modality is not a projection radiograph's.")
BODY_PART = Reason("body-part", "The DICOM body part is not the chest.")
LATERAL = Reason("lateral", "The DICOM view position is lateral; the model reads frontal views.")
NOT_A_CHEST = Reason("not-a-chest", "The picture does not look like a frontal chest radiograph.")
UNLIKE_TRAINING = Reason(
    "unlike-training",
    "The network finds nothing in the picture that is like its training images.",
)
INVERTED = Reason(
    "inverted", "The picture looks inverted: bone should be bright. Send it as it was stored."
)
_ON_ITS_SIDE = Reason("turned", "The picture looks as if it lay on its side. Send it upright.")
TURNED = {
    1: _ON_ITS_SIDE,
    2: Reason("turned", "The picture looks as if it stood upside down. Send it upright."),
    3: _ON_ITS_SIDE,
}
UNFAMILIAR = "unfamiliar-population"
"""Code of the reason whose sentence names the populations; see
:func:`cxr.verdict.populations.familiarity`."""
