"""The DICOM objects results become, judged by other people's programs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR
from PIL import Image

from cxr.errors import UnreadableImageError
from service.answers import PopulationAnswer, ScopeAnswer
from service.dicom import results
from service.dicom.results import build_capture, build_not_analysed, build_report
from service.dicom.source import NO_DATE, read_source
from service.dicom.structured_report import UNDATED
from service.dicom.uids import derive_uid
from service.errors import DicomResultError
from service.telemetry.logs import JsonFormatter
from tests.dicom_tools import run_tool, verify_valid
from tests.service.make_images import make_dicom, make_png
from tests.service.make_results import CANARY, MODEL, make_result, make_source

with Image.open(io.BytesIO(make_png(width=700, height=1100))) as drawn:
    OVERLAY = np.asarray(drawn.convert("RGB"))
PNEUMONIA = hd.sr.CodedConcept("233604007", "SCT", "Pneumonia")
REASON = "The DICOM object has 12 frames."


def report(source: bytes, **changes: Any) -> bytes:
    """Build the report of a result."""
    return build_report(source, make_result(**changes), MODEL)


CHOICES: dict[str, Any] = {"target": "PNEUMONIA", "method": "gradcam", "alpha": 0.45}


def capture(source: bytes, **choices: Any) -> bytes:
    """Build the capture of an overlay."""
    return build_capture(source, make_result(), MODEL, OVERLAY, **(CHOICES | choices))


def not_analysed(source: bytes) -> bytes:
    """Build the report of a refusal."""
    return build_not_analysed(source, REASON, MODEL, "PNEUMONIA")


def read(data: bytes) -> pydicom.FileDataset:
    """Read a Part 10 file."""
    return pydicom.dcmread(io.BytesIO(data))


SOURCES: dict[str, Callable[[], bytes]] = {
    "complete": make_source,
    "bare": lambda: make_dicom(ViewPosition=None, BodyPartExamined=None),
    "MONOCHROME1": lambda: make_source(PhotometricInterpretation="MONOCHROME1"),
    "malformed age": lambda: make_source(PatientAge=b"48"),
    "malformed dates": lambda: make_source(
        StudyDate=b"unknown ", StudyTime=b"10:61", PatientBirthDate=b"1901.02.03", ContentDate=b"0"
    ),
    "missing ids": lambda: make_source(
        PatientID=None, StudyID=None, AccessionNumber=None, StudyTime=None, PatientName=None
    ),
    "uids in the file's meta group only": lambda: make_source(
        StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None, SOPClassUID=None
    ),
    "overlong ids": lambda: make_source(AccessionNumber=b"1" * 40, PatientID=b"2" * 80),
    "several ids": lambda: make_source(PatientID=b"one\\two ", AccessionNumber=b"1\\2 "),
    "other sex": lambda: make_source(PatientSex=b"female"),
    "names of old": lambda: make_source(PatientName=b"A^B^C^D^E^F^G=x=y=z "),
    "Latin 1": lambda: make_source(
        SpecificCharacterSet="ISO_IR 100", PatientName="M\xfcller^J\xf6rg"
    ),
    "Japanese": lambda: make_source(
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        PatientName="Yamada^Tarou=\u5c71\u7530^\u592a\u90ce",
    ),
    "unknown character set": lambda: make_source(
        SpecificCharacterSet="ISO_IR 100", PatientName="M\xfcller"
    ).replace(b"ISO_IR 100", b"NONSENSE  "),
    "private SOP class": lambda: make_source(SOPClassUID="1.2.3.4.5.6"),
    "hand": lambda: make_source(BodyPartExamined="HAND"),
    "oriented": lambda: make_source(PatientOrientation=["L", "F"]),
    "nonsense orientation": lambda: make_source(PatientOrientation=b"AP\\?? "),
}
KINDS = pytest.mark.parametrize("build", [report, capture, not_analysed])


@KINDS
@pytest.mark.parametrize("name", SOURCES)
def test_objects_are_valid(build: Callable[[bytes], bytes], name: str, tmp_path: Path) -> None:
    """Whatever the source's header is like, dicom3tools finds no error."""
    verify_valid(build(SOURCES[name]()), tmp_path)


@KINDS
@pytest.mark.shared_data
def test_objects_of_real_files_are_valid(
    build: Callable[[bytes], bytes], shared_data: Path, tmp_path: Path
) -> None:
    """So it is for radiographs from modalities."""
    files = sorted((shared_data / "dicom" / "chest").glob("*.dcm"))
    assert files
    for file in files:
        verify_valid(build(file.read_bytes()), tmp_path)


@KINDS
def test_repeat_is_byte_identical(build: Callable[[bytes], bytes]) -> None:
    """Whoever is sent the object twice has it once."""
    source = make_source()
    assert build(source) == build(bytes(source))


def test_uids_follow_from_source_model_and_choices() -> None:
    """What differs in any of them is another object; nothing else makes one."""
    source = make_source()
    point = make_result().operating_point.model_copy(update={"name": "rule-out"})
    other_model = MODEL.model_copy(update={"sha256": "cd" * 32})
    unproven = PopulationAnswer(name="children", who="children", validated=False)
    doubt = ScopeAnswer(in_scope=False, reasons=("Another age.",), codes=("unfamiliar-population",))
    objects = [
        report(source),
        report(make_source(SOPInstanceUID="1.2.3")),
        report(source, operating_point=point),
        build_report(source, make_result(), other_model),
        not_analysed(source),
        capture(source),
        capture(source, method="layercam"),
        capture(source, target="NORMAL"),
        capture(source, alpha=0.3),
        report(source, population=None),
        report(source, population=unproven),
        report(source, scope=doubt, decision="refer", label=None),
        report(source, scope=doubt, decision="refer", label=None, population=None),
        build_capture(source, make_result(population=None), MODEL, OVERLAY, **CHOICES),
    ]
    uids = [read(one)[keyword].value for one in objects for keyword in ("SOPInstanceUID",)]
    series = {read(one).SeriesInstanceUID for one in objects}
    assert len(set(uids)) == len(series) == len(objects)
    assert not series & set(uids)
    assert all(uid.startswith("2.25.") and len(uid) <= 44 for uid in uids)
    assert read(report(source, probability=0.5)).SOPInstanceUID == uids[0]


def test_uids_are_those_of_earlier_versions() -> None:
    """An archive may have the object since last year: changing them is a decision."""
    assert derive_uid("SR", "1.2.3", "ab", "balanced") == UID_OF_OLD
    assert derive_uid("SR", "ab", "c") != derive_uid("SR", "a", "bc")


UID_OF_OLD = "2.25.81426540298643060947585548699930609356"


@pytest.mark.parametrize(
    ("decision", "presence"),
    [("positive", "52101004"), ("negative", "272519000"), ("refer", "373068000")],
)
def test_report_reads_back(decision: str, presence: str) -> None:
    """With highdicom, by TID 1500, with the values that went in."""
    data = report(make_source(), decision=decision, warnings=("An adult.",))
    document = Comprehensive3DSR.from_dataset(read(data))
    assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert document.PreliminaryFlag == "PRELIMINARY"
    [group] = document.content.get_image_measurement_groups()
    assert group.finding_type.value == "233604007"
    [evaluation] = group.get_qualitative_evaluations(PNEUMONIA)
    assert (evaluation.name.value, evaluation.value.value) == ("233604007", presence)
    numbers = {one.name.value: (one.value, one.unit.value) for one in group.get_measurements()}
    assert numbers == {"122157": (0.973123, "1"), "122411": (0.4, "1")}
    assert str(group.tracking_uid).startswith("2.25.")
    assert group.tracking_identifier == "resnet18 1.0.0: Pneumonia"
    [image] = group.source_images
    assert image.referenced_sop_instance_uid == CANARY["SOPInstanceUID"]
    algorithm = texts_of(document)
    assert (algorithm["Algorithm Name"], algorithm["Algorithm Version"]) == (
        ["resnet18"],
        ["1.0.0"],
    )
    parameters = algorithm["Algorithm Parameters"]
    assert {f"model_sha256: {MODEL.sha256}", "operating_point: balanced"} <= set(parameters)
    assert algorithm["Comment"] == [
        "Signs of pneumonia: likely.",
        "It is above its line.",
        "Scope: in scope.",
        "An adult.",
        "Research use only. Not a medical device.",
    ]
    observer = document.content.get_observer_contexts()[0].observer_identifying_attributes
    assert observer.uid == read(data).ContributingEquipmentSequence[0].DeviceUID
    [evidence] = document.get_evidence()
    uids = [CANARY[f"{level}InstanceUID"] for level in ("Study", "Series", "SOP")]
    assert [str(uid) for uid in evidence[:3]] == uids


def test_report_of_what_is_out_of_scope_has_no_number() -> None:
    """A probability of something else misleads; the reason stands in its place."""
    scope = ScopeAnswer(in_scope=False, reasons=("The picture is turned.",), codes=("turned",))
    data = report(make_source(), decision="refer", label=None, scope=scope)
    document = Comprehensive3DSR.from_dataset(read(data))
    [group] = document.content.get_image_measurement_groups()
    assert group.get_measurements() == []
    comments = texts_of(document)["Comment"]
    assert comments[1:3] == ["Scope: out of scope.", "Out of scope: The picture is turned."]


@pytest.mark.parametrize("finding", ["PNEUMONIA", "BACTERIAL"])
def test_refusals_name_the_finding_of_the_model(finding: str) -> None:
    """What was not looked for is not said to be undetermined."""
    data = build_not_analysed(make_source(), REASON, MODEL, finding)
    [group] = Comprehensive3DSR.from_dataset(read(data)).content.get_image_measurement_groups()
    assert group.finding_type.value == results.FINDINGS[finding].value


def test_findings_without_a_code_are_refused() -> None:
    """No report of another finding is made up."""
    with pytest.raises(DicomResultError, match="no code"):
        build_not_analysed(make_source(), REASON, MODEL, "LUPUS")


def texts_of(ds: pydicom.Dataset) -> dict[str, list[str]]:
    """Give the text items of a document by the meaning of their names."""
    found: dict[str, list[str]] = {}

    def walk(item: pydicom.Dataset) -> None:
        if item.get("ValueType") == "TEXT":
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            found.setdefault(name, []).append(item.TextValue)
        for child in item.get("ContentSequence", []):
            walk(child)

    walk(ds)
    return found


def test_refusal_is_told() -> None:
    """The document is undetermined, has no number and says why."""
    document = Comprehensive3DSR.from_dataset(read(not_analysed(make_source())))
    [group] = document.content.get_image_measurement_groups()
    [evaluation] = group.get_qualitative_evaluations(PNEUMONIA)
    assert evaluation.value.meaning == "Undetermined"
    assert group.get_measurements() == []
    assert f"Not analysed: {REASON}" in texts_of(document)["Comment"]


def test_reports_are_dumped(tmp_path: Path) -> None:
    """DCMTK reads them, too."""
    for data in (report(make_source()), not_analysed(make_source())):
        said = run_tool("dsrdump", data, tmp_path)
        assert "Comprehensive 3D SR Document" in said
        assert '(233604007,SCT,"Pneumonia")' in said
        assert not [line for line in said.splitlines() if line.startswith(("E:", "F:"))]


def test_capture_shows_the_overlay() -> None:
    """As a JPEG of at most 1,024 pixels, derived from the image."""
    ds = read(capture(make_source(PatientOrientation=["L", "F"])))
    assert ds.file_meta.TransferSyntaxUID == results.CAPTURE_SYNTAX
    assert list(ds.ImageType) == ["DERIVED", "SECONDARY"]
    assert (ds.BurnedInAnnotation, list(ds.PatientOrientation)) == ("YES", ["L", "F"])
    assert (ds.Modality, ds.Rows, ds.Columns) == ("OT", 1024, round(700 * 1024 / 1100))
    [source] = ds.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == CANARY["SOPInstanceUID"]
    assert ds.DerivationCodeSequence[0].CodeValue == "130403"
    pixels = hd.imread(io.BytesIO(capture(make_source()))).pixel_array.astype(int)
    shown = Image.fromarray(OVERLAY).convert("L").resize((ds.Columns, ds.Rows))
    assert np.abs(pixels.mean(axis=2) - np.asarray(shown)).mean() < 2


@KINDS
def test_objects_join_the_study_of_their_source(build: Callable[[bytes], bytes]) -> None:
    """Patient and study are the source's; times are, too; series and device are our own."""
    ds = read(build(make_source()))
    kept = set(CANARY) - {"InstitutionName", "PatientComments"} - {"SeriesInstanceUID"}
    kept -= {"SOPInstanceUID"}
    assert {keyword: str(ds[keyword].value) for keyword in kept} == {k: CANARY[k] for k in kept}
    assert "InstitutionName" not in ds
    assert "PatientComments" not in ds
    assert ds.SeriesInstanceUID != CANARY["SeriesInstanceUID"]
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert ds.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == (
        "109102"
    )
    assert "InstanceCreationDate" not in ds


def test_names_survive_their_character_set() -> None:
    """They are written in Unicode whatever they came in."""
    assert str(read(report(SOURCES["Latin 1"]())).PatientName) == "M\xfcller^J\xf6rg"
    japanese = read(report(SOURCES["Japanese"]())).PatientName
    assert japanese.ideographic == "\u5c71\u7530^\u592a\u90ce"


def test_what_is_malformed_is_left_empty() -> None:
    """And what is too long is not cut: it would be somebody else's."""
    ds = read(report(SOURCES["overlong ids"]()))
    assert (ds.PatientID, ds.AccessionNumber) == ("", "")
    ds = read(report(SOURCES["malformed dates"]()))
    assert (ds.StudyDate, ds.StudyTime, ds.PatientBirthDate) == ("", "", "19010203")
    assert "PatientAge" not in read(report(SOURCES["malformed age"]()))


def test_results_of_an_undated_image_say_so() -> None:
    """A report has to have a date: it says that this is none. A capture has none."""
    image = make_dicom()
    undated = read(report(image))
    assert (undated.ContentDate, undated.ContentTime) == (NO_DATE, "000000")
    assert "SeriesDate" not in undated
    assert UNDATED.encode() in report(image)
    assert UNDATED.encode() not in report(make_source())
    assert not {"ContentDate", "ContentTime", "SeriesDate"} & set(read(capture(image)).dir())
    assert (report(image), capture(image)) == (report(image), capture(image))


def test_header_says_nothing_of_itself() -> None:
    """Whoever prints one sees nothing of the patient."""
    shown = repr(read_source(make_source()))
    assert not [value for value in CANARY.values() if value in shown]


@pytest.mark.parametrize("data", [b"", make_png(), make_source()[:140], b"\0" * 128 + b"DICM\xff"])
def test_unreadable_sources_are_refused(data: bytes) -> None:
    """With the error of an image that cannot be read."""
    with pytest.raises(UnreadableImageError):
        report(data)


def test_failures_quote_nothing(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """What a library says of the values it did not like is kept back."""

    def fail(*_: object) -> bytes:
        raise ValueError("Canary^Yellow is no name")

    monkeypatch.setattr(results, "render_capture", fail)
    with pytest.raises(DicomResultError) as caught:
        capture(make_source())
    logged = "".join(JsonFormatter().format(record) for record in caplog.records)
    assert "DICOM result failed" in logged
    assert "Canary" not in str(caught.value) + logged
    assert caught.value.__cause__ is None


def test_capture_tells_how_much_its_compression_lost() -> None:
    """PS3.3, C.7.6.1.1.5: ratio of the uncompressed bytes to those of the JPEG, and its method."""
    ds = read(capture(make_source()))
    [jpeg] = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
    ratio = 3 * ds.Rows * ds.Columns / len(jpeg.rstrip(b"\0"))
    assert ratio > 2
    assert float(ds.LossyImageCompressionRatio) == pytest.approx(ratio, abs=0.01)
    assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


def test_identifiers_of_devices_never_change() -> None:
    """Archives know a model by its device UID, and strays by the implementation's."""
    ds = read(report(make_source()))
    [item] = ds.ContributingEquipmentSequence
    assert item.DeviceUID == "2.25.309569062831310733136843585274506974672"
    implementation = ds.file_meta.ImplementationClassUID
    assert implementation == "2.25.222589943434294313432677297816505750970"
