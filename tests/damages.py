"""What can be wrong with a DICOM object full of canaries: read all the same, or refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from tests.canaries import CANARIES, PLAN

Damage = Callable[[bytes], bytes]

NAME = next(token for token, name in CANARIES.items() if name == "PatientName")
"""The patient's."""


def rewritten(edit: Callable[[Dataset], None]) -> Damage:
    """Change the dataset."""

    def change(data: bytes) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(data))
        edit(ds)
        buffer = io.BytesIO()
        ds.save_as(buffer)
        return buffer.getvalue()

    return change


def cut(share: float) -> Damage:
    """The beginning of the file."""
    return lambda data: data[: int(len(data) * share)]


def assigned(**values: Any) -> Damage:
    """Other values, however odd."""

    def edit(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return rewritten(edit)


def in_odd_codec(syntax: str) -> Damage:
    """A frame of canaries where a codestream is declared."""

    def edit(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([NAME.encode() * 100])
        ds["PixelData"].VR = "OB"

    return rewritten(edit)


def without_pixels(ds: Dataset) -> None:
    del ds.PixelData


def with_text_for_numbers(ds: Dataset) -> None:
    ds.add_new("WindowCenter", "DS", "1")
    ds["WindowCenter"]._value = NAME
    ds.add_new("NumberOfFrames", "LO", NAME)


def with_other_representations(ds: Dataset) -> None:
    """Texts where dates, times, ages and UIDs are due, so that each fails to be parsed."""
    for tag, vr, name, _ in PLAN:
        if vr in ("DA", "TM", "AS", "DT") and tag >> 16 != 2 and name != "private":
            ds.add_new(tag, "LO", f"QZ{tag:08X}")


SOUND: dict[str, Damage] = {
    "good": lambda data: data,
    "refused modality": assigned(Modality="CT"),
    "names for codes": assigned(Modality=f"{NAME}^x", BodyPartExamined=f"{NAME}^x"),
    "names for views": assigned(ViewPosition=f"{NAME}^x"),
    "odd character set": assigned(SpecificCharacterSet=NAME),
    "odd window function": assigned(VOILUTFunction=NAME),
    "texts for dates": rewritten(with_other_representations),
}
BROKEN: dict[str, Damage] = {
    **{f"cut at {share}": cut(share) for share in (0.002, 0.01, 0.1, 0.4, 0.9, 0.999)},
    "no pixels": rewritten(without_pixels),
    "odd photometric": assigned(PhotometricInterpretation=NAME),
    "text for a number": rewritten(with_text_for_numbers),
    "several frames": assigned(NumberOfFrames=3),
    **{
        f"undecodable {uid.name}": in_odd_codec(uid)
        for uid in (RLELossless, JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless)
    },
}
