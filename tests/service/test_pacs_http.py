"""Answers as DICOM objects and FHIR resources, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR
from PIL import Image

from service.client import AsyncClient, Client, ServiceError
from service.client.exchange import split_dicom
from service.dicom import results
from service.http.formats import dicom
from service.http.formats.fhir import FHIR
from service.multipart import DICOM, MULTIPART_DICOM
from service.telemetry.logs import configure_logging
from tests.service.conftest import make_settings
from tests.service.fake_engine import POISON, FakeEngine
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, running
from tests.service.make_images import make_dicom, make_flat_png, make_jpeg, make_png
from tests.service.make_results import CANARY, make_source
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

PREDICT, EXPLAIN = "/v1/predict", "/v1/explain"
SR, SC = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
async def explaining(bundles: Path, engine: FakeEngine) -> AsyncIterator[Running]:
    """The application, ready, on fakes that explain, too."""
    async with running(make_settings(bundles), engine.build, FakeExplainer().build) as ready:
        yield ready


async def ask(
    service: Running, accept: str, *images: bytes, path: str = PREDICT, **query: str
) -> httpx.Response:
    """Send images as a form, or one as it is, and ask for a form of answer."""
    headers, client = {"Accept": accept}, service.client
    if len(images) == 1:
        return await client.post(path, content=images[0], headers=headers, params=query)
    files = [("files", ("x", image)) for image in images]
    return await client.post(path, files=files, headers=headers, params=query)


def read(data: bytes) -> pydicom.FileDataset:
    """Read a Part 10 file."""
    return pydicom.dcmread(io.BytesIO(data))


def probability_in(data: bytes) -> float:
    """Give the probability a report states."""
    document = Comprehensive3DSR.from_dataset(read(data))
    [group] = document.content.get_image_measurement_groups()
    return float(group.get_measurements()[0].value)


async def test_report_tells_what_the_json_tells(service: Running) -> None:
    """One image as application/dicom: an SR about it with the same probability."""
    image = make_source()
    [told] = (await ask(service, "application/json", image)).json()["results"]
    response = await ask(service, DICOM, image)
    assert response.headers["content-type"] == f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.1"
    assert response.headers["vary"] == "Accept"
    assert "report;dur=" in response.headers["server-timing"]
    ds = read(response.content)
    assert (ds.SOPClassUID, ds.PatientID) == (SR, CANARY["PatientID"])
    assert probability_in(response.content) == round(told["probability"], 6)


async def test_multipart_has_a_report_for_each_image(service: Running) -> None:
    """In the order of the request, each about its own image."""
    images = [make_source(SOPInstanceUID=f"1.2.{mean}") for mean in (1, 2)] + [make_dicom(90)]
    response = await ask(service, MULTIPART_DICOM, *images)
    assert response.headers["content-type"].startswith(f"{MULTIPART_DICOM}; boundary=")
    head = b"\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n"
    assert response.content.count(head) == len(images)
    reports = split_dicom(response)
    evidence = [
        read(report)
        .CurrentRequestedProcedureEvidenceSequence[0]
        .ReferencedSeriesSequence[0]
        .ReferencedSOPSequence[0]
        .ReferencedSOPInstanceUID
        for report in reports
    ]
    assert evidence == [read(image).SOPInstanceUID for image in images]
    assert probability_in(reports[0]) == probability_in(reports[1]) > probability_in(reports[2])


@pytest.mark.parametrize("path", [PREDICT, EXPLAIN])
@pytest.mark.parametrize("accept", [DICOM, MULTIPART_DICOM])
async def test_repeat_is_byte_identical(explaining: Running, path: str, accept: str) -> None:
    """The whole answer is, so a client that tries again stores nothing twice."""
    image = make_source()
    first, second = [await ask(explaining, accept, image, path=path) for _ in range(2)]
    assert first.status_code == 200
    assert first.content == second.content
    assert first.headers["content-type"] == second.headers["content-type"]


async def test_explanation_is_a_capture(explaining: Running) -> None:
    """As application/dicom the overlay; as a multipart the report and the overlay."""
    image, query = make_source(), {"target": "NORMAL", "method": "layercam", "alpha": "0.3"}
    one = await ask(explaining, DICOM, image, path=EXPLAIN, **query)
    assert one.headers["content-type"] == f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.50"
    report, capture = split_dicom(
        await ask(explaining, MULTIPART_DICOM, image, path=EXPLAIN, **query)
    )
    assert capture == one.content
    assert report == (await ask(explaining, DICOM, image)).content
    ds = read(capture)
    assert (ds.SOPClassUID, ds.PatientID) == (SC, CANARY["PatientID"])
    assert "layercam heatmap of class NORMAL" in ds.DerivationDescription
    png = await ask(explaining, "image/png", image, path=EXPLAIN, **query)
    assert (ds.Columns, ds.Rows) == Image.open(io.BytesIO(png.content)).size


@pytest.mark.parametrize("path", [PREDICT, EXPLAIN])
@pytest.mark.parametrize("accept", [DICOM, MULTIPART_DICOM])
async def test_plain_images_become_no_dicom(explaining: Running, path: str, accept: str) -> None:
    """There is no patient and no study to put it in; nothing is run."""
    problem = verify_problem(
        await ask(explaining, accept, make_png(), path=path), 406, "not-acceptable"
    )
    assert "image 1" in problem["detail"]
    problem = verify_problem(
        await ask(explaining, MULTIPART_DICOM, make_dicom(), make_jpeg(), make_png()),
        406,
        "not-acceptable",
    )
    assert "images 2, 3" in problem["detail"]


async def test_one_object_cannot_hold_many(service: Running) -> None:
    """Several images need the multipart."""
    response = await ask(service, DICOM, make_dicom(), make_dicom())
    assert MULTIPART_DICOM in verify_problem(response, 406, "not-acceptable")["detail"]


CUT = make_dicom()[:-5000]


@pytest.mark.parametrize("accept", [DICOM, MULTIPART_DICOM, FHIR])
async def test_one_bad_image_is_answered_with_its_problem(service: Running, accept: str) -> None:
    """As in JSON."""
    verify_problem(await ask(service, accept, CUT), 422, "unreadable-image")


@pytest.mark.parametrize("accept", [MULTIPART_DICOM, FHIR])
async def test_one_bad_image_of_many_fails_the_request(service: Running, accept: str) -> None:
    """There is no place to tell of it; the problem says which one."""
    response = await ask(service, accept, make_dicom(), CUT, make_dicom())
    detail = verify_problem(response, 422, "some-images-failed")["detail"]
    assert "image 2 of 3" in detail
    assert "unreadable-image" in detail


async def test_what_may_be_tried_again_says_so(service: Running, engine: FakeEngine) -> None:
    """A failure of ours is told with its status, whatever else failed."""
    engine.poisoned = True
    response = await ask(service, FHIR, CUT, make_flat_png(POISON), make_dicom())
    verify_problem(response, 500, "inference-failed")


async def test_header_beyond_reading_fails_the_image(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read as a picture but has no identity gets no report."""
    ds = read(make_dicom(SOPInstanceUID=None))
    del ds.file_meta.MediaStorageSOPInstanceUID
    buffer = io.BytesIO()
    ds.save_as(buffer)
    assert (await ask(service, "application/json", buffer.getvalue())).status_code == 200
    for accept in (DICOM, FHIR):
        verify_problem(await ask(service, accept, buffer.getvalue()), 422, "unreadable-image")


@pytest.mark.parametrize("accept", ["text/html", 'multipart/related; type="image/jpeg"'])
async def test_other_forms_are_refused(service: Running, accept: str) -> None:
    """The problem names what there is."""
    problem = verify_problem(await ask(service, accept, make_dicom()), 406, "not-acceptable")
    assert FHIR in problem["detail"]


@pytest.mark.parametrize(
    "accept",
    [
        "multipart/related",
        "multipart/related; type=application/dicom",
        'MULTIPART/RELATED; Type="Application/DICOM"; transfer-syntax=*',
        'multipart/related; q=0.9; type="application/dicom", application/json;q=0.5',
    ],
)
async def test_multipart_is_asked_for_in_many_words(service: Running, accept: str) -> None:
    """As DICOMweb clients write it."""
    assert len(split_dicom(await ask(service, accept, make_dicom()))) == 1


async def test_operator_may_turn_them_off(bundles: Path, engine: FakeEngine) -> None:
    """Refused before the body is read; FHIR and JSON remain."""
    settings = make_settings(bundles, dicom_results="off")
    async with running(settings, engine.build, FakeExplainer().build) as service:
        for path in (PREDICT, EXPLAIN):
            response = await ask(service, DICOM, make_dicom(), path=path)
            verify_problem(response, 501, "dicom-results-disabled")
        assert (await ask(service, FHIR, make_dicom())).status_code == 200


async def test_without_highdicom_captures_remain(
    bundles: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports need it; told to have them, the service does not start without."""
    monkeypatch.setattr(dicom, "can_build_reports", lambda: False)
    settings = make_settings(bundles)
    async with running(settings, engine.build, FakeExplainer().build) as service:
        verify_problem(await ask(service, DICOM, make_dicom()), 501, "dicom-results-disabled")
        both = await ask(service, MULTIPART_DICOM, make_dicom(), path=EXPLAIN)
        verify_problem(both, 501, "dicom-results-disabled")
        capture = await ask(service, DICOM, make_dicom(), path=EXPLAIN)
        assert read(capture.content).SOPClassUID == SC
    with pytest.raises(AssertionError, match="Install the extra pacs"):
        async with running(make_settings(bundles, dicom_results="on"), engine.build):
            pass


async def test_other_findings_have_no_codes(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of something else is not reported as pneumonia."""
    monkeypatch.setattr(results, "FINDINGS", {})
    for accept in (DICOM, FHIR):
        response = await ask(service, accept, make_dicom())
        verify_problem(response, 501, "dicom-results-disabled")


async def test_clients_give_the_objects(explaining: Running) -> None:
    """As bytes, ready to be stored."""
    transport = httpx.ASGITransport(explaining.app)
    async with AsyncClient("http://test", transport=transport) as client:
        reports = await client.predict_dicom([make_source(), make_dicom()])
        [report, capture] = await client.explain_dicom(make_source(), method="gradcam_plus_plus")
        with pytest.raises(ServiceError, match="406"):
            await client.predict_dicom(make_png())
    assert [read(one).SOPClassUID for one in (*reports, report, capture)] == [SR, SR, SR, SC]
    assert report == reports[0]
    answer = await ask(explaining, MULTIPART_DICOM, make_source())

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] == MULTIPART_DICOM
        headers = {"content-type": answer.headers["content-type"]}
        return httpx.Response(200, headers=headers, content=answer.content)

    with Client("http://test", transport=httpx.MockTransport(handle)) as sync:
        assert sync.predict_dicom(make_source()) == [reports[0]]
        assert sync.explain_dicom(make_source()) == [reports[0]]
    proxy = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
    with Client("http://test", transport=proxy) as sync, pytest.raises(ServiceError):
        sync.predict_dicom(make_source())


async def test_objects_alone_know_the_patient(
    explaining: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing of the header is in logs, headers, problems, JSON, FHIR, metrics or files."""
    secrets = [value for key, value in CANARY.items() if "UID" not in key]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    log = io.StringIO()
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = root.handlers[:]
    configure_logging("debug", log)
    root.setLevel(logging.DEBUG)  # the libraries' own lines, too
    told: list[str] = []
    try:
        for changes in ({}, {"PatientName": b"Canary^Yellow^^^^^^ "}, {"PatientSex": b"CANARY"}):
            good = make_source(**changes)
            for accept in (DICOM, MULTIPART_DICOM, FHIR, "application/json", "image/png"):
                for path in (PREDICT, EXPLAIN):
                    for images in ((good,), (good[:-5000],), (good, good[:-5000]), (good[:400],)):
                        response = await ask(explaining, accept, *images, path=path)
                        told += [str(response.headers), ""]
                        if "application/dicom" not in response.headers["content-type"]:
                            told.append(response.content.decode("latin-1"))
                        else:
                            assert CANARY["PatientID"].encode() in response.content
        monkeypatch.setattr(results, "render_capture", lambda *_: 1 / 0)
        verify_problem(await ask(explaining, DICOM, good, path=EXPLAIN), 500, "dicom-result-failed")
        told.append((await explaining.client.get("/metrics")).text)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    told.append(log.getvalue())
    assert "DICOM result failed" in told[-1]
    found = [secret for secret in secrets if len(secret) > 4 for text in told if secret in text]
    assert not found
    assert list(tmp_path.iterdir()) == []


async def test_json_requests_are_told_apart_by_place(service: Running) -> None:
    """Ids are the client's words, maybe a patient's name: problems name positions."""
    data = [base64.b64encode(one).decode() for one in (make_dicom(), CUT)]
    body = {"images": [{"id": f"Jane{i}", "data": one} for i, one in enumerate(data)]}
    headers = {"Accept": MULTIPART_DICOM}
    response = await service.client.post(PREDICT, json=body, headers=headers)
    assert "Jane" not in verify_problem(response, 422, "some-images-failed")["detail"]


async def test_openapi_documents_every_form(service: Running) -> None:
    """Of both endpoints."""
    paths = (await service.client.get("/openapi.json")).json()["paths"]
    predict = paths[PREDICT]["post"]["responses"]
    assert set(predict["200"]["content"]) == {"application/json", DICOM, MULTIPART_DICOM, FHIR}
    assert {"406", "501"} <= set(predict)
    assert {DICOM, MULTIPART_DICOM} <= set(paths[EXPLAIN]["post"]["responses"]["200"]["content"])


async def test_reports_do_not_hold_up_the_loop(service: Running) -> None:
    """Probes are answered while many reports are built."""
    images = [make_source(SOPInstanceUID=f"1.2.{i}") for i in range(6)]
    task = asyncio.create_task(ask(service, MULTIPART_DICOM, *images))
    probes = 0
    while not task.done():
        assert (await service.client.get("/health/live")).status_code == 200
        probes += 1
        await asyncio.sleep(0.001)
    assert (await task).status_code == 200
    assert probes > 3
