"""Model inputs that clients made themselves."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cxr.image import DecodedImage, ModelInput
from cxr.layout import describe_layout
from cxr.scope import assess_scope
from service.answers import ImageFacts
from service.deadline import Deadline
from service.inference.prediction import Prepared
from service.inference.preparation import Decoder, PreparedImage

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


async def prepare_tensors(
    images: NDArray[np.uint8], decoder: Decoder, deadline: Deadline, owner: str
) -> Prepared:
    """Do what :func:`prepare_tensor` does for all images of a request, on a decoder's thread.

    Args:
        images: Shape (N, 1, S, S), uint8.
        decoder: Whose thread.
        deadline: Of the request.
        owner: Name of the model they are for.

    Raises:
        DeadlineExceededError: It was not done before the deadline.
    """
    return await decoder.run(partial(_prepare_all, images), deadline, owner)


def _prepare_all(images: NDArray[np.uint8]) -> Prepared:
    return [(str(index), prepare_tensor(image)) for index, image in enumerate(images)]
