"""Model inputs that clients made themselves."""

from __future__ import annotations

import hashlib

from cxr.images.layout import describe_layout
from cxr.pixels.image import DecodedImage, ModelInput
from cxr.verdict.scope import assess_scope
from service.answers import ImageFacts
from service.images.preparation import PreparedImage

FORMAT = "tensor"


def prepare_tensor(model_input: ModelInput) -> PreparedImage:
    """Judge one model input as a decoded image is judged. Any thread may call it.

    Colour, proportions and DICOM tags are gone; blankness, layout and embedding still tell
    what is no chest radiograph.

    Args:
        model_input: Shape (1, S, S), uint8.
    """
    side = model_input.shape[-1]
    sha256 = hashlib.sha256(model_input.tobytes()).hexdigest()
    seen = DecodedImage(model_input[0], FORMAT, width=side, height=side, sha256=sha256)
    return PreparedImage(
        model_input=model_input,
        facts=ImageFacts(sha256=sha256, format=FORMAT, width=side, height=side, dicom=None),
        scope=assess_scope(seen),
        layout=describe_layout(model_input),
        dicom=None,
        warnings=(),
    )
