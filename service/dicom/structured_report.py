"""Comprehensive 3D SRs by TID 1500, through highdicom, which is loaded with this module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from service.answers import ModelRef
from service.dicom import concepts, equipment
from service.dicom.concepts import Concept
from service.dicom.part10 import encode_part10
from service.dicom.source import SourceHeader

SERIES_NUMBER = 9001  # beyond those of modalities
SERIES_DESCRIPTION = "AI results, research use only"
UNDATED = "The image has no date; the date of this report stands for an unknown one."


@dataclass(frozen=True)
class Statement:
    """What a report says.

    Attributes:
        sop_instance_uid: Of the report.
        series_instance_uid: Of its series.
        tracking_uid: Of the finding.
        model: Which model it comes from.
        parameters: How it ran, each ``name: value``.
        finding: What was looked for.
        presence: Whether it was found.
        numbers: Measurements without a unit.
        comments: Sentences.
    """

    sop_instance_uid: str
    series_instance_uid: str
    tracking_uid: str
    model: ModelRef
    parameters: Sequence[str]
    finding: Concept
    presence: Concept
    numbers: Sequence[tuple[Concept, float]]
    comments: Sequence[str]


class _Report(Comprehensive3DSR):
    """highdicom's, but of the source only what was sanitised is taken over, for any SOP class."""

    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """Do nothing: :func:`render_report` adds it."""


def render_report(source: SourceHeader, statement: Statement) -> bytes:
    """Render a Comprehensive 3D SR as a Part 10 file, explicit VR little endian.

    Args:
        source: Of the image the report is about: the evidence.
        statement: What the report says.
    """
    model = statement.model
    report = _Report(
        evidence=[source.ds],
        content=_content(source, statement)[0],
        series_instance_uid=statement.series_instance_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=statement.sop_instance_uid,
        instance_number=1,
        manufacturer=equipment.MANUFACTURER,
        manufacturer_model_name=model.name,
        software_versions=(model.version, equipment.SOFTWARE_VERSION),
        device_serial_number=model.sha256,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=SERIES_DESCRIPTION,
        content_date=source.date,
        content_time=source.time,
    )
    del report.InstanceCreationDate, report.InstanceCreationTime  # now, and a repeat's is another
    shared = source.shared()
    if source.is_dated:
        shared.SeriesDate, shared.SeriesTime = source.date, source.time
    shared.ContributingEquipmentSequence = [equipment.equipment_item(model)]
    report.update(shared)
    return encode_part10(report, ExplicitVRLittleEndian)


def _content(source: SourceHeader, statement: Statement) -> MeasurementReport:
    model = statement.model
    observer = DeviceObserverIdentifyingAttributes(
        uid=equipment.device_uid(model),
        name=equipment.model_title(model),
        manufacturer_name=equipment.MANUFACTURER,
        model_name=model.name,
        serial_number=model.sha256,
    )
    return MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.cid270.Device, observer_identifying_attributes=observer
            )
        ),
        procedure_reported=_coded(concepts.CHEST_XRAY),
        imaging_measurements=[_group(source, statement)],
    )


def _group(source: SourceHeader, statement: Statement) -> MeasurementsAndQualitativeEvaluations:
    """Give the measurement group of TID 1501."""
    finding, model = _coded(statement.finding), statement.model
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=statement.tracking_uid,
            identifier=f"{equipment.model_title(model)}: {statement.finding.meaning}",
        ),
        finding_type=finding,
        algorithm_id=AlgorithmIdentification(
            name=model.name,
            version=model.version,
            parameters=list(statement.parameters),
            family=_coded(concepts.ARTIFICIAL_INTELLIGENCE),
            manufacturer=equipment.MANUFACTURER,
        ),
        measurements=[
            Measurement(name=_coded(name), value=value, unit=_coded(concepts.UNITY))
            for name, value in statement.numbers
        ]
        or None,
        qualitative_evaluations=[QualitativeEvaluation(finding, _coded(statement.presence))],
        source_images=[
            SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)
        ],
    )
    undated = () if source.is_dated else (UNDATED,)
    for comment in (*statement.comments, *undated, *source.remarks, equipment.NOT_A_DEVICE):
        group[0].ContentSequence.append(
            TextContentItem(
                name=_coded(concepts.COMMENT),
                value=comment,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
        )
    return group


def _coded(concept: Concept) -> CodedConcept:
    return CodedConcept(*concept)
