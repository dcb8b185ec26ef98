"""What /v1/predict answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any

import numpy as np
import pytest

from cxr.images.decoding import Preprocessing
from service.answers import PredictAnswer
from service.images.preparation import prepare_image
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, load_of, until, waiting_for_run
from tests.service.make_bundle import MAX_PIXELS, MIN_SIDE_PX, SIZE_PX, THRESHOLD, probabilities_of
from tests.service.make_images import make_dicom, make_flat_png, make_jpeg, make_png
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

PREDICT = "/v1/predict"
SPEC = Preprocessing(size_px=SIZE_PX, min_side_px=MIN_SIDE_PX)


def expected_probability(file: bytes) -> float:
    """Give what the models of the tests answer for a file."""
    image = prepare_image(file, SPEC, MAX_PIXELS)
    return float(probabilities_of(image.model_input[np.newaxis])[0, 1])


async def test_answer_has_exactly_the_documented_members(real_service: Running) -> None:
    """Integrators rely on the names and nesting."""
    file = make_dicom(170)
    response = await real_service.client.post(PREDICT, content=file)
    answer = response.json()
    model, result, timings = answer.pop("model"), answer.pop("results")[0], answer["timings_ms"]
    assert answer.keys() == {"request_id", "timings_ms"}
    assert model.pop("sha256") == real_service.runtime.models.get(None).loaded.bundle.sha256
    assert model == {
        "name": "resnet18",
        "version": "1.0.0",
        "engine": "onnxruntime",
        "provider": "CPUExecutionProvider",
        "precision": "fp32",
    }
    assert timings.keys() == {"decode", "queue", "inference", "total"}
    assert timings["total"] >= max(timings["decode"], timings["queue"], timings["inference"]) > 0
    probability = result.pop("probability")
    assert probability == pytest.approx(expected_probability(file), abs=1e-5)
    assert result.pop("probabilities") == {
        "NORMAL": pytest.approx(1 - probability),
        "PNEUMONIA": probability,
    }
    assert result == {
        "id": "0",
        "status": "ok",
        "finding": "PNEUMONIA",
        "label": "PNEUMONIA",
        "decision": "positive",
        "conclusion": {
            "headline": "Signs of pneumonia: likely",
            "subject": "pneumonia",
            "reasons": [
                f"The probability of pneumonia, {100 * probability:.1f} %, is at or above 40 %, "
                "the threshold."
            ],
        },
        "operating_point": {
            "name": "balanced",
            "threshold": THRESHOLD,
            "sensitivity": 0.97,
            "specificity": 0.93,
        },
        "uncertainty": {
            "prediction_set": ["PNEUMONIA"],
            "coverage": 0.9,
            "refer_band": {"low": THRESHOLD, "high": THRESHOLD},
        },
        "scope": {"in_scope": True, "reasons": [], "codes": []},
        "population": {"name": "children", "who": "children aged 1 to 5", "validated": True},
        "warnings": [],
        "image": {
            "sha256": hashlib.sha256(file).hexdigest(),
            "format": "dicom",
            "width": 96,
            "height": 96,
            "dicom": {
                "modality": "CR",
                "view_position": "PA",
                "body_part": "CHEST",
                "photometric_interpretation": "MONOCHROME2",
                "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            },
        },
    }


@pytest.mark.parametrize(
    "content_type", ["image/jpeg", "application/octet-stream", "text/html", None]
)
@pytest.mark.parametrize("kind", ["jpeg", "png", "dicom"])
async def test_type_is_taken_from_the_content(
    real_service: Running, kind: str, content_type: str | None
) -> None:
    """Whatever the header says, the bytes decide."""
    file = {"jpeg": make_jpeg, "png": make_png, "dicom": make_dicom}[kind](150)
    headers = {"Content-Type": content_type} if content_type else {}
    response = await real_service.client.post(PREDICT, content=file, headers=headers)
    result = response.json()["results"][0]
    assert result["image"]["format"] == kind
    assert result["probability"] == pytest.approx(expected_probability(file), abs=1e-4)


@pytest.mark.parametrize("way", ["json", "multipart"])
async def test_good_and_bad_images_answer_in_order(real_service: Running, way: str) -> None:
    """A bad image fails alone, in its place."""
    files = [make_png(100), b"junk", make_jpeg(150), make_png()[:-40], make_dicom(60)]
    if way == "json":
        images = [
            {"id": f"x{i}", "data": base64.b64encode(f).decode()} for i, f in enumerate(files)
        ]
        response = await real_service.client.post(PREDICT, json={"images": images})
    else:
        parts = [("files", (f"x{i}", f)) for i, f in enumerate(files)]
        response = await real_service.client.post(PREDICT, files=parts)
    answer = PredictAnswer.model_validate_json(response.content)
    assert response.status_code == 200
    assert [one.id.removeprefix("x") for one in answer.results] == ["0", "1", "2", "3", "4"]
    assert [one.status for one in answer.results] == ["ok", "error", "ok", "error", "ok"]
    assert [one.problem.status for one in answer.results if one.status == "error"] == [415, 422]
    for file, one in zip(files, answer.results, strict=True):
        if one.status == "ok":
            assert one.probability == pytest.approx(expected_probability(file), abs=1e-4)


async def test_broken_base64_fails_alone(real_service: Running) -> None:
    """The good images of a JSON request are answered beside one that is not base64."""
    good = base64.b64encode(make_png(100)).decode()
    images = [{"id": "good", "data": good}, {"id": "bad", "data": "!!!"}]
    response = await real_service.client.post(PREDICT, json={"images": images})
    first, second = PredictAnswer.model_validate_json(response.content).results
    assert (first.id, first.status) == ("good", "ok")
    assert (second.id, second.status) == ("bad", "error")
    assert second.problem.status == 400
    assert "images.1.data is not base64" in second.problem.detail


async def test_one_bad_image_of_many_may_be_all_of_them(real_service: Running) -> None:
    """Many bad images are a request that was answered, each with its own problem."""
    response = await real_service.client.post(PREDICT, files=[("files", b"junk")] * 2)
    assert response.status_code == 200
    assert [one["problem"]["status"] for one in response.json()["results"]] == [415, 415]


async def test_no_answer_is_swapped_under_load(service: Running, engine: FakeEngine) -> None:
    """Many clients at once each get the answer for their own pixels, from shared batches."""

    async def ask(mean: int) -> None:
        file = make_png(mean)
        response = await service.client.post(PREDICT, content=file)
        while response.status_code == 429:
            await asyncio.sleep(0.01)
            response = await service.client.post(PREDICT, content=file)
        probability = response.json()["results"][0]["probability"]
        assert probability == pytest.approx(expected_probability(file), abs=1e-6)

    await asyncio.gather(*(ask(mean) for mean in range(50, 200, 3)))
    assert max(engine.batches) == 4
    assert set(engine.batches) <= {1, 2, 4}


@pytest.mark.parametrize(
    ("mean", "point", "label", "decision"),
    [
        (90, None, "NORMAL", "negative"),
        (160, None, "PNEUMONIA", "positive"),
        (120, "balanced", "NORMAL", "negative"),
        (120, "rule-out", None, "refer"),
    ],
)
async def test_decision_follows_the_operating_point(
    real_service: Running, mean: int, point: str | None, label: str | None, decision: str
) -> None:
    """The same probability is decided on by the threshold of the point that was asked for."""
    params = {"operating_point": point} if point else {}
    response = await real_service.client.post(PREDICT, content=make_png(mean), params=params)
    result = response.json()["results"][0]
    assert (result["label"], result["decision"]) == (label, decision)
    assert result["operating_point"]["name"] == point or point is None


@pytest.mark.parametrize(
    "file",
    [make_flat_png(200), make_png(width=96, height=400), make_dicom(ViewPosition="LL")],
    ids=["blank", "strip", "lateral"],
)
async def test_out_of_scope_is_referred(real_service: Running, file: bytes) -> None:
    """The model abstains on an image it was not made for, and says why."""
    response = await real_service.client.post(PREDICT, content=file)
    result = response.json()["results"][0]
    assert (result["decision"], result["label"]) == ("refer", None)
    assert not result["scope"]["in_scope"]
    assert result["scope"]["reasons"]
    assert len(result["scope"]["codes"]) == len(result["scope"]["reasons"])
    assert result["population"] is None


async def test_model_is_chosen_by_query(real_service: Running) -> None:
    """Without one, resnet18 answers if it is loaded."""
    client = real_service.client
    default = await client.post(PREDICT, content=make_png())
    other = await client.post(PREDICT, content=make_png(), params={"model": "cnn"})
    assert default.json()["model"]["name"] == "resnet18"
    assert other.json()["model"]["name"] == "cnn"
    assert other.json()["model"]["sha256"] != default.json()["model"]["sha256"]


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("abc-1.2_X", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("{}", False)],
)
async def test_request_id(real_service: Running, given: str, is_kept: bool) -> None:
    """A harmless id of the client is used and echoed; any other is replaced."""
    headers = {"X-Request-ID": given}
    response = await real_service.client.post(PREDICT, content=make_png(), headers=headers)
    assert response.headers["x-request-id"] == response.json()["request_id"]
    assert (response.headers["x-request-id"] == given) is is_kept


async def test_server_timing(real_service: Running) -> None:
    """The stages stand in a header that browsers show."""
    response = await real_service.client.post(PREDICT, content=make_png())
    stages = dict(one.split(";dur=") for one in response.headers["server-timing"].split(", "))
    assert list(stages) == ["recv", "decode", "queue", "infer", "total"]
    assert all(float(value) > 0 for value in stages.values())


async def test_disconnected_client_is_not_run(service: Running, engine: FakeEngine) -> None:
    """An image whose client went away leaves the queue unseen by the engine."""
    engine.gate.clear()
    load = load_of(service)
    first = asyncio.create_task(service.client.post(PREDICT, content=make_png()))
    await until(lambda: engine.entered.acquire(blocking=False))
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": make_png()})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": [], "query_string": b""}
    gone = asyncio.create_task(service.app(scope, messages.get, send))
    await until(lambda: waiting_for_run(service) == 1)
    messages.put_nowait({"type": "http.disconnect"})
    async with asyncio.timeout(5):  # long before its deadline
        await gone
    engine.gate.set()
    assert (await first).status_code == 200
    assert engine.batches == [1]
    assert load.images == 0
    assert service.runtime.lifecycle.active_requests == 0


async def test_client_may_shorten_its_deadline(service: Running, engine: FakeEngine) -> None:
    """Who will not wait is not computed for; what is no time is told so."""
    engine.gate.clear()
    first = asyncio.create_task(service.client.post(PREDICT, content=make_png()))
    await until(lambda: engine.entered.acquire(blocking=False))
    hurried = {"X-Request-Timeout-Ms": "30"}
    response = await service.client.post(PREDICT, content=make_png(), headers=hurried)
    verify_problem(response, 504, "deadline-exceeded")
    engine.gate.set()
    assert (await first).status_code == 200
    for wrong in ("0", "-1", "1.5", "soon", "1000000"):
        odd = {"X-Request-Timeout-Ms": wrong}
        response = await service.client.post(PREDICT, content=make_png(), headers=odd)
        verify_problem(response, 400, "invalid-request")
