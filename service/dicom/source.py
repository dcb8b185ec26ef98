"""The sanitised header that gives results their patient and study."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from functools import cached_property

from pydicom import dcmread, dcmwrite
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import SecondaryCaptureImageStorage

from cxr.dicom.part10 import DicomFile
from cxr.errors import InputError, UnreadableImageError
from cxr.images.decoding import told_as_too_large
from cxr.silence import silence
from service.dicom import values
from service.dicom.pixels import digest_pixels
from service.dicom.uids import derive_uid

# highdicom logs UIDs and doubtful names; its warnings are attributed to its callers.
silence("pydicom", "highdicom", "service.dicom")

TEXTS = {
    "PatientName": "PN",
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "AccessionNumber": "SH",
    "StudyID": "SH",
    "StudyDescription": "LO",
    "ReferringPhysicianName": "PN",
    "BodyPartExamined": "CS",
}
OPTIONAL = ("IssuerOfPatientID", "StudyDescription", "PatientAge", "BodyPartExamined")
"""Type 3: left out when empty. The others are type 2: present, perhaps without a value."""

IDENTIFYING = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "AccessionNumber",
    "StudyID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
)
"""Results say which of these had a value that was not taken over."""

OF_THE_IMAGE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "BodyPartExamined")
"""Not shared with other objects of the study."""

MOMENTS = ("Content", "Acquisition", "Series", "Study")
"""The time of results is that of the first date the source has."""

READ = (
    *TEXTS,
    *OF_THE_IMAGE,
    "StudyInstanceUID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientOrientation",
    *(f"{moment}{part}" for moment in MOMENTS for part in ("Date", "Time")),
)
NO_DATE, NO_TIME = "19000101", "000000"
"""For sources without any date: a date is required, and must be the same for a repeat."""

UNICODE = "ISO_IR 192"
NOT_TAKEN_OVER = (
    "Not taken over, because the image's values are several or cannot be read for sure:"
)


@dataclass(frozen=True)
class SourceHeader:
    """What results copy from their image. Must not be logged, shown or kept.

    It holds bytes, so that a process that only passes it on does not read them.

    Attributes:
        encoded: Sanitised; has all type 1 and 2 attributes that results need.
        orientation: Row and column; empty if unknown.
        date: YYYYMMDD, see ``MOMENTS``.
        time: HHMMSS.FFFFFF or shorter.
        left_out: Keywords of ambiguous identifiers.
    """

    encoded: bytes = field(repr=False)
    orientation: tuple[str, ...] = field(repr=False)
    date: str = field(repr=False)
    time: str = field(repr=False)
    left_out: tuple[str, ...] = ()
    pixels: str = ""

    @classmethod
    def of(
        cls,
        ds: Dataset,
        orientation: tuple[str, ...],
        moment: tuple[str, str],
        left_out: tuple[str, ...] = (),
    ) -> SourceHeader:
        """Encode a header. ``moment`` is date and time."""
        buffer = io.BytesIO()
        dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
        return cls(buffer.getvalue(), orientation, *moment, left_out)

    @cached_property
    def ds(self) -> Dataset:
        """The attributes."""
        return dcmread(io.BytesIO(self.encoded), force=True)

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return str(self.ds.SOPInstanceUID)

    @property
    def identity(self) -> tuple[str, str]:
        """Origin of result UIDs: some senders reuse a UID for other pixels."""
        return self.sop_instance_uid, self.pixels

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID."""
        return str(self.ds.SOPClassUID)

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        return str(self.ds.StudyInstanceUID)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on omitted identifiers, without values."""
        if not self.left_out:
            return ()
        names = ", ".join(dictionary_description(keyword) for keyword in self.left_out)
        return (f"{NOT_TAKEN_OVER} {names}.",)

    @property
    def is_dated(self) -> bool:
        """Whether there is a date."""
        return self.date != NO_DATE

    def shared(self) -> Dataset:
        """Return patient and study attributes."""
        ds = Dataset()
        for element in self.ds:
            if element.keyword not in OF_THE_IMAGE:
                ds.add(element)
        return ds


def read_source(data: bytes) -> SourceHeader:
    """Read the header of a Part 10 file. Any thread.

    Missing UIDs are derived from the SOP Instance UID; malformed values become empty.

    Raises:
        UnreadableImageError: It is not DICOM, is corrupt, or has no SOP Instance UID.
        ImageTooLargeError: Its header exceeds the limits of :mod:`cxr.dicom.bounds`.
    """
    try:
        with told_as_too_large():
            file = DicomFile(data)
            return replace(_sanitise(file.header(READ)), pixels=digest_pixels(data))
    except InputError:
        raise
    except Exception:  # elements are parsed on access and raise many types
        raise UnreadableImageError(
            "The header of the DICOM file is truncated or corrupt. Send the complete Part 10 file."
        ) from None


def _sanitise(received: FileDataset) -> SourceHeader:
    ds = Dataset()
    ds.SpecificCharacterSet = UNICODE  # holds whatever was decoded
    sets = values.character_sets_of(received)
    for keyword, vr in TEXTS.items():
        setattr(ds, keyword, values.text_of(received, keyword, vr, sets))
    if not ds.IssuerOfPatientID and values.is_given(received, "IssuerOfPatientID"):
        ds.PatientID = ""  # patients of two issuers may have one number
    ds.PatientSex = values.sex_of(received)
    ds.PatientAge = values.age_of(received)
    ds.PatientBirthDate = values.date_of(received, "PatientBirthDate")
    ds.StudyDate = values.date_of(received, "StudyDate")
    ds.StudyTime = values.time_of(received, "StudyTime")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        setattr(ds, keyword, values.uid_of(received, keyword))
    left_out = _left_out(received, ds)
    for keyword in OPTIONAL:
        if not ds.get(keyword):
            delattr(ds, keyword)
    meta = received.file_meta
    ds.SOPInstanceUID = values.uid_of(received, "SOPInstanceUID") or values.uid_of(
        meta, "MediaStorageSOPInstanceUID"
    )
    if not ds.SOPInstanceUID:
        raise UnreadableImageError(
            "The DICOM file has no SOP Instance UID, so no result can refer to it. Send the "
            "complete Part 10 file."
        )
    ds.SOPClassUID = (
        values.uid_of(received, "SOPClassUID")
        or values.uid_of(meta, "MediaStorageSOPClassUID")
        or SecondaryCaptureImageStorage
    )
    ds.StudyInstanceUID = ds.StudyInstanceUID or derive_uid("study", ds.SOPInstanceUID)
    ds.SeriesInstanceUID = ds.SeriesInstanceUID or derive_uid("series", ds.SOPInstanceUID)
    orientation = tuple(values.orientation_of(received))
    return SourceHeader.of(ds, orientation, _moment_of(received), left_out)


def _left_out(received: Dataset, taken: Dataset) -> tuple[str, ...]:
    return tuple(
        keyword
        for keyword in IDENTIFYING
        if not taken.get(keyword) and values.is_given(received, keyword)
    )


def _moment_of(received: Dataset) -> tuple[str, str]:
    for moment in MOMENTS:
        if date := values.date_of(received, f"{moment}Date"):
            return date, values.time_of(received, f"{moment}Time") or NO_TIME
    return NO_DATE, NO_TIME
