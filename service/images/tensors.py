"""Model inputs made by clients."""

from __future__ import annotations

import hashlib

from cxr.images.layout import describe_layout
from cxr.pixels.image import DecodedImage, ModelInput
from cxr.verdict.scope import assess_scope
from service.answers import ImageFacts
from service.images.preparation import PreparedImage

FORMAT = "tensor"


def prepare_tensor(model_input: ModelInput) -> PreparedImage:
    """Judge a model input of shape (1, S, S), uint8. Any thread may call it.

    Only blankness, layout and embedding are left to decide on scope.
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
