"""Answers as FHIR R4, judged by fhir.resources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.service.harness import Running
from tests.service.make_images import make_dicom, make_flat_png, make_jpeg
from tests.service.make_results import CANARY, make_source
from tests.service.test_pacs_http import FHIR, ask

bundle = pytest.importorskip("fhir.resources.R4B.bundle")
diagnosticreport = pytest.importorskip("fhir.resources.R4B.diagnosticreport")

pytestmark = pytest.mark.anyio


async def get(service: Running, *images: bytes, **query: str) -> dict[str, Any]:
    """Ask for FHIR and give the resource."""
    response = await ask(service, FHIR, *images, **query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == FHIR
    resource: dict[str, Any] = response.json()
    return resource


def contained(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give the contained resources by their ids."""
    return {f"#{one['id']}": one for one in report["contained"]}


async def test_report_is_valid_and_tells_what_the_json_tells(service: Running) -> None:
    """A DiagnosticReport with two Observations by a Device, about a study."""
    image = make_source()
    [told] = (await ask(service, "application/json", image)).json()["results"]
    report = await get(service, image)
    diagnosticreport.DiagnosticReport.model_validate(report)
    parts = contained(report)
    finding, probability = (parts[one["reference"]] for one in report["result"])
    assert finding["code"]["coding"][0]["code"] == "233604007"
    assert finding["valueCodeableConcept"]["coding"][0]["display"] == "Present"
    assert probability["valueQuantity"]["value"] == round(told["probability"], 6)
    assert probability["component"][0]["valueQuantity"]["value"] == 0.4
    study = f"urn:oid:{CANARY['StudyInstanceUID']}"
    assert report["imagingStudy"][0]["identifier"]["value"] == study
    assert {
        parts[one["device"]["reference"]]["resourceType"] for one in (finding, probability)
    } == {"Device"}
    assert report["status"] == "preliminary"


async def test_several_images_travel_in_a_bundle(service: Running) -> None:
    """In their order, each under its own URL, the same file twice as well."""
    images = (make_source(), make_jpeg(90), make_dicom(90), make_source())
    resource = await get(service, *images)
    bundle.Bundle.model_validate(resource)
    entries = resource["entry"]
    assert len({entry["fullUrl"] for entry in entries}) == len(images)
    studies = ["imagingStudy" in entry["resource"] for entry in entries]
    assert studies == [True, False, True, True]
    codes = ["conclusionCode" in entry["resource"] for entry in entries]
    assert codes == [True, False, False, True]


@pytest.mark.parametrize(
    ("image", "presence"),
    [
        (make_dicom(170), "Present"),
        (make_dicom(90), "Absent"),
        (make_dicom(170, BodyPartExamined="HAND"), "Undetermined"),
    ],
    ids=["positive", "negative", "refer"],
)
async def test_decisions_have_codes(service: Running, image: bytes, presence: str) -> None:
    """Referring is undetermined."""
    report = await get(service, image)
    diagnosticreport.DiagnosticReport.model_validate(report)
    finding = contained(report)["#finding"]
    assert finding["valueCodeableConcept"]["coding"][0]["display"] == presence
    assert ("conclusionCode" in report) == (presence == "Present")


async def test_plain_images_have_no_identifiers(service: Running) -> None:
    """The receiver knows what was sent; out of scope is noted."""
    report = await get(service, make_flat_png(100))
    diagnosticreport.DiagnosticReport.model_validate(report)
    assert not {"identifier", "imagingStudy", "subject"} & set(report)
    assert contained(report)["#finding"]["note"]


async def test_repeat_is_the_same_and_tells_no_patient(service: Running) -> None:
    """No subject, no date, nothing but the UID of the study."""
    texts = [json.dumps(await get(service, make_source())) for _ in range(2)]
    assert texts[0] == texts[1]
    study = CANARY["StudyInstanceUID"]
    known = [v for v in CANARY.values() if len(v) > 4 and v in texts[0].replace(study, "")]
    assert known == []
