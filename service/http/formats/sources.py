"""DICOM headers: DICOM and FHIR answers copy their patient and study."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cxr.errors import InputError, UnreadableImageError
from cxr.images.decoding import SNIFF_BYTES, sniff_format
from service.answers import ImageResult
from service.deadline import Deadline
from service.dicom.results import can_code
from service.dicom.source import SourceHeader, read_source
from service.errors import DicomResultsDisabledError, NotAcceptableError
from service.models.models import ServedModel
from service.models.predictor import EncodedImage
from service.multipart import DICOM, MULTIPART_DICOM
from service.scheduling.cores import Cores, on_bytes


class Sources:
    """The headers, read while the encoded bytes are held.

    ``most`` limits the answer's images, None for any number. A finding without a code raises
    DicomResultsDisabledError.
    """

    def __init__(
        self, served: ServedModel, *, dicom_only: bool = True, most: int | None = None
    ) -> None:
        if not can_code(served.manifest.task.positive):
            raise DicomResultsDisabledError(
                f"There is no code for the finding of model {served.manifest.name}. "
                "Ask for application/json."
            )
        self._dicom_only = dicom_only
        self._most = most
        self._headers: dict[str, SourceHeader] = {}

    async def read(self, images: Sequence[EncodedImage], pool: Cores, deadline: Deadline) -> None:
        """Read the headers on the pool, skipping unreadable images.

        Raises:
            NotAcceptableError: These images cannot be answered so.
        """
        if self._most is not None and len(images) > self._most:
            raise NotAcceptableError(
                f"The request holds {len(images)} images, and {DICOM} is one object. Ask for "
                f"{MULTIPART_DICOM}, or send each image by itself."
            )
        kinds = [sniff_format(image.data[:SNIFF_BYTES]) for image in images]
        others = [
            index
            for index, (image, kind) in enumerate(zip(images, kinds, strict=True))
            if image.error is None and kind != "dicom"
        ]
        if self._dicom_only and others:
            raise NotAcceptableError(
                "DICOM objects are made of DICOM images only, whose patient and study they copy. "
                f"Not DICOM: {name_positions(others)}. Send DICOM, or ask for application/json."
            )
        dicom = [image for image, kind in zip(images, kinds, strict=True) if kind == "dicom"]
        if dicom:
            reading = [pool.run(on_bytes(_read_header, one.data), deadline) for one in dicom]
            headers = zip(dicom, await asyncio.gather(*reading), strict=True)
            self._headers = {one.id: header for one, header in headers if header is not None}

    def header_of(self, result: ImageResult) -> SourceHeader | None:
        """Return an image's header, None if not DICOM.

        Raises:
            UnreadableImageError: The header is unreadable.
        """
        header = self._headers.get(result.id)
        if header is None and (self._dicom_only or result.image.format == "dicom"):
            raise UnreadableImageError(
                "The DICOM header cannot be read completely. Send the complete Part 10 file, or "
                "ask for application/json."
            )
        return header


def _read_header(data: bytes) -> SourceHeader | None:
    try:
        return read_source(data)
    except InputError:  # decoding reports the reason
        return None


def name_positions(indexes: Sequence[int]) -> str:
    """Name images by position: ids are the client's text."""
    named = ", ".join(str(index + 1) for index in indexes)
    return f"image {named}" if len(indexes) == 1 else f"images {named}"
