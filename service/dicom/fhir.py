"""Results as FHIR R4 JSON, linked to a patient only by study and report identifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.answers import ImageResult, ModelRef
from service.dicom import concepts, equipment
from service.dicom.concepts import Concept
from service.dicom.results import DIGITS, class_remarks, conclusion_text, origin_of
from service.dicom.source import SourceHeader
from service.dicom.uids import derive_uid, derive_uuid

Resource = dict[str, Any]

SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
}
IMAGING_STUDY = {
    "system": "http://loinc.org",
    "code": "18748-4",
    "display": "Diagnostic imaging study",
}
RADIOLOGY = {
    "system": "http://terminology.hl7.org/CodeSystem/v2-0074",
    "code": "RAD",
    "display": "Radiology",
}
IMAGING = {
    "system": "http://terminology.hl7.org/CodeSystem/observation-category",
    "code": "imaging",
    "display": "Imaging",
}
DICOM_UID = "urn:dicom:uid"


def build_fhir(
    results: Sequence[tuple[SourceHeader | None, ImageResult]], model: ModelRef
) -> Resource:
    """Build a DiagnosticReport, or a Bundle (``collection``) of several.

    ``results`` is not empty; each has its source's header, None if not DICOM.
    """
    if len(results) == 1:
        return build_diagnostic_report(*results[0], model)
    entries = []
    for source, result in results:
        resource = build_diagnostic_report(source, result, model)
        # The same file may be sent twice, but the fullUrls of a Bundle must differ.
        name = derive_uuid("SR", *_key(source, result), model.sha256, result.id)
        entries.append({"fullUrl": f"urn:uuid:{name}", "resource": resource})
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def build_diagnostic_report(
    source: SourceHeader | None, result: ImageResult, model: ModelRef
) -> Resource:
    """Build one result's DiagnosticReport; out of scope without a probability."""
    studies = _studies(source)
    observations = [_finding(result, studies)]
    if result.scope.in_scope:
        observations.append(_probability(result, studies))
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "contained": [_device(model), *observations],
        "status": "preliminary",
        "category": [{"coding": [RADIOLOGY]}],
        "code": {"coding": [IMAGING_STUDY, _coding(concepts.CHEST_XRAY)]},
        "performer": [{"display": f"{equipment.MANUFACTURER}. {equipment.NOT_A_DEVICE}"}],
        "result": [{"reference": f"#{one['id']}"} for one in observations],
        "conclusion": conclusion_text(result),
    }
    if result.decision == "positive":
        report["conclusionCode"] = [_concept(concepts.FINDINGS[result.finding])]
    if source is not None:
        uid = derive_uid("SR", *origin_of(source, result, model))
        report["identifier"] = [{"system": DICOM_UID, "value": f"urn:oid:{uid}"}]
        report["imagingStudy"] = studies
    return report


def _key(source: SourceHeader | None, result: ImageResult) -> tuple[str, ...]:
    return (result.image.sha256,) if source is None else source.identity


def _studies(source: SourceHeader | None) -> list[Resource]:
    if source is None:
        return []
    value = f"urn:oid:{source.study_instance_uid}"
    return [{"type": "ImagingStudy", "identifier": {"system": DICOM_UID, "value": value}}]


def _device(model: ModelRef) -> Resource:
    return {
        "resourceType": "Device",
        "id": "device",
        "identifier": [{"system": DICOM_UID, "value": f"urn:oid:{equipment.device_uid(model)}"}],
        "manufacturer": equipment.MANUFACTURER,
        "serialNumber": model.sha256,
        "deviceName": [{"name": model.name, "type": "model-name"}],
        "version": [{"value": model.version}, {"value": equipment.SOFTWARE_VERSION}],
        "note": [{"text": equipment.NOT_A_DEVICE}],
    }


def _observation(name: str, code: Concept, studies: list[Resource], **members: Any) -> Resource:
    observation: Resource = {
        "resourceType": "Observation",
        "id": name,
        "status": "preliminary",
        "category": [{"coding": [IMAGING]}],
        "code": _concept(code),
        **members,
        "device": {"reference": "#device"},
    }
    return observation | ({"derivedFrom": studies} if studies else {})


def _finding(result: ImageResult, studies: list[Resource]) -> Resource:
    remarks = (*result.scope.reasons, *result.warnings, *class_remarks(result))
    notes = {"note": [{"text": remark} for remark in remarks]} if remarks else {}
    return _observation(
        "finding",
        concepts.FINDINGS[result.finding],
        studies,
        valueCodeableConcept=_concept(concepts.PRESENCE[result.decision]),
        **notes,
    )


def _probability(result: ImageResult, studies: list[Resource]) -> Resource:
    point = result.operating_point
    threshold = {
        "code": _concept(concepts.THRESHOLD) | {"text": f"operating point {point.name}"},
        "valueQuantity": _quantity(point.threshold),
    }
    return _observation(
        "probability",
        concepts.PROBABILITY,
        studies,
        valueQuantity=_quantity(result.probability),
        component=[threshold],
    )


def _quantity(value: float) -> Resource:
    unity = concepts.UNITY
    return {
        "value": round(value, DIGITS),
        "unit": unity.value,
        "system": SYSTEMS[unity.scheme_designator],
        "code": unity.value,
    }


def _concept(concept: Concept) -> Resource:
    return {"coding": [_coding(concept)]}


def _coding(concept: Concept) -> Resource:
    return {
        "system": SYSTEMS[concept.scheme_designator],
        "code": concept.value,
        "display": concept.meaning,
    }
