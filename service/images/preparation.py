"""From the bytes of an image to a model input and facts."""

from __future__ import annotations

from dataclasses import dataclass

from cxr.explain.overlay import to_picture
from cxr.images.decoding import (
    Preprocessing,
    decode_image,
    decode_options,
    to_model_input,
    told_as_too_large,
)
from cxr.images.layout import Layout, describe_layout
from cxr.pixels.image import DecodedImage, DicomFacts, GrayImage, ModelInput
from cxr.verdict.scope import Scope, assess_scope
from service.answers import DicomAnswer, ImageFacts


@dataclass(frozen=True)
class PreparedImage:
    """One image, ready for a batch. Its full-size pixels are gone: many may be waiting.

    Attributes:
        model_input: Shape (1, S, S), uint8.
        layout: Input of the scope gate.
        warnings: Sentences about how it was decoded.
        picture: The radiograph as shown to people, if requested.
    """

    model_input: ModelInput
    facts: ImageFacts
    scope: Scope
    layout: Layout
    dicom: DicomFacts | None
    warnings: tuple[str, ...]
    picture: GrayImage | None = None


def prepare_image(
    data: bytes, spec: Preprocessing, max_pixels: int, *, keep_picture: bool = False
) -> PreparedImage:
    """Decode, judge and resize a JPEG, PNG or DICOM file. Any thread may call it.

    Args:
        data: The whole file.
        spec: Preprocessing of the model.
        max_pixels: Most pixels that the header may declare.
        keep_picture: Keep what an overlay is drawn on.

    Raises:
        InputError: It cannot be used.
    """
    with told_as_too_large():
        image = decode_image(data, decode_options(spec, max_pixels))
        model_input = to_model_input(image.pixels, spec)
        return PreparedImage(
            model_input=model_input,
            facts=_facts_of(image),
            scope=assess_scope(image),
            layout=describe_layout(model_input),
            dicom=image.dicom,
            warnings=image.warnings,
            picture=to_picture(image.pixels, image.width, image.height) if keep_picture else None,
        )


def _facts_of(image: DecodedImage) -> ImageFacts:
    dicom = image.dicom
    return ImageFacts(
        sha256=image.sha256,
        format=image.format,
        width=image.width,
        height=image.height,
        dicom=None
        if dicom is None
        else DicomAnswer(
            modality=dicom.modality,
            view_position=dicom.view_position,
            body_part=dicom.body_part,
            photometric_interpretation=dicom.photometric_interpretation,
            transfer_syntax_uid=dicom.transfer_syntax_uid,
        ),
    )
