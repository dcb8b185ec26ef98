"""application/fhir+json: FHIR R4."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.dicom.fhir import build_fhir
from service.http.formats.format import VARY, AllOrNothing, PredictOutcomes, SourcedResult
from service.http.formats.sources import Sources
from service.http.receive import runtime_of
from service.models.models import ServedModel
from service.settings import Settings
from service.web.documented import schema_of
from service.web.requests import context_of

FHIR = "application/fhir+json"


class FhirResource(BaseModel):
    """A FHIR R4 DiagnosticReport, or a Bundle of them for several images."""

    model_config = ConfigDict(extra="allow")

    resource_type: Literal["DiagnosticReport", "Bundle"] = Field(alias="resourceType")


EXAMPLE: dict[str, Any] = {
    "resourceType": "DiagnosticReport",
    "contained": [
        {"resourceType": "Device", "id": "device", "manufacturer": "cxr-inference"},
        {
            "resourceType": "Observation",
            "id": "finding",
            "status": "preliminary",
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "233604007"}]},
            "valueCodeableConcept": {
                "coding": [{"system": "http://snomed.info/sct", "code": "52101004"}]
            },
            "device": {"reference": "#device"},
        },
    ],
    "status": "preliminary",
    "code": {"coding": [{"system": "http://loinc.org", "code": "18748-4"}]},
    "imagingStudy": [
        {
            "type": "ImagingStudy",
            "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.826.0.1"},
        }
    ],
    "result": [{"reference": "#finding"}],
    "conclusion": "Signs of pneumonia: likely. The probability of pneumonia, 97.3 %, is at or "
    "above 70.3 %, the upper end of the range in which the model abstains. Operating point "
    "balanced. Research use only. Not a medical device.",
}


class FhirReport(AllOrNothing):
    """A DiagnosticReport, or a Bundle; images need not be DICOM."""

    media_type = FHIR
    content = {"schema": schema_of(FhirResource), "example": EXAMPLE}  # noqa: RUF012
    schemas = (FhirResource,)

    def open_sources(self, settings: Settings, served: ServedModel) -> Sources:
        """Read the DICOM images' headers."""
        return Sources(served, dicom_only=False)

    async def build(self, predicted: PredictOutcomes, results: Sequence[SourcedResult]) -> Response:
        """Build the resource."""
        request = predicted.request
        work = partial(build_fhir, results, predicted.served.reference)
        resource = await runtime_of(request).pool.run(work, context_of(request).deadline)
        body = json.dumps(resource, ensure_ascii=False, allow_nan=False).encode()
        return Response(body, media_type=FHIR, headers=VARY)
