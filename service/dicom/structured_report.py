"""Comprehensive 3D SRs (TID 1500), with highdicom."""

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
from service.dicom.equipment import encode_part10
from service.dicom.source import SourceHeader

SERIES_NUMBER = 9001  # beyond those of modalities
SERIES_DESCRIPTION = "AI results, research use only"
UNDATED = "The image has no date; the date of this report stands for an unknown one."


@dataclass(frozen=True)
class ReportContent:
    """A report's content; numbers are unitless."""

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
    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """Do nothing: sanitised attributes are added later."""


def render_report(source: SourceHeader, content: ReportContent) -> bytes:
    """Render a Comprehensive 3D SR as a Part 10 file."""
    model = content.model
    report = _Report(
        evidence=[source.ds],
        content=_report(source, content)[0],
        series_instance_uid=content.series_instance_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=content.sop_instance_uid,
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
    del (
        report.InstanceCreationDate,
        report.InstanceCreationTime,
    )  # a repeat would differ
    shared = source.shared()
    if source.is_dated:
        shared.SeriesDate, shared.SeriesTime = source.date, source.time
    shared.ContributingEquipmentSequence = [equipment.equipment_item(model)]
    report.update(shared)
    return encode_part10(report, ExplicitVRLittleEndian)


def _report(source: SourceHeader, content: ReportContent) -> MeasurementReport:
    model = content.model
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
        imaging_measurements=[_group(source, content)],
    )


def _group(source: SourceHeader, content: ReportContent) -> MeasurementsAndQualitativeEvaluations:
    # TID 1501.
    finding, model = _coded(content.finding), content.model
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=content.tracking_uid,
            identifier=f"{equipment.model_title(model)}: {content.finding.meaning}",
        ),
        finding_type=finding,
        algorithm_id=AlgorithmIdentification(
            name=model.name,
            version=model.version,
            parameters=list(content.parameters),
            family=_coded(concepts.ARTIFICIAL_INTELLIGENCE),
            manufacturer=equipment.MANUFACTURER,
        ),
        measurements=[
            Measurement(name=_coded(name), value=value, unit=_coded(concepts.UNITY))
            for name, value in content.numbers
        ]
        or None,
        qualitative_evaluations=[QualitativeEvaluation(finding, _coded(content.presence))],
        source_images=[
            SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)
        ],
    )
    undated = () if source.is_dated else (UNDATED,)
    for comment in (*content.comments, *undated, *source.remarks, equipment.NOT_A_DEVICE):
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
