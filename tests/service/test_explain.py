"""What /v1/explain answers, on a fake explainer."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cxr.bundles.methods import METHODS
from cxr.explain.overlay import EMPTY, FLAT
from service.answers import ExplainAnswer
from service.client import AsyncClient
from service.engines.registry import build_engine
from service.explain import pictures
from service.explain.here import ExplainHere
from service.models import predictor as prediction
from service.multipart import MULTIPART_DICOM
from tests.service.conftest import make_settings
from tests.service.fake_engine import POISON, FakeEngine
from tests.service.fake_explainer import CELLS, FakeExplainer
from tests.service.harness import Running, running, until
from tests.service.make_bundle import make_bundle
from tests.service.make_images import make_dicom, make_flat_png, make_jpeg, make_png
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

EXPLAIN = "/v1/explain"
PREDICT = "/v1/predict"


@pytest.fixture
def explainer() -> FakeExplainer:
    """The explainer under ``explaining``."""
    return FakeExplainer()


@pytest.fixture
async def explaining(
    bundles: Path, engine: FakeEngine, explainer: FakeExplainer
) -> AsyncIterator[Running]:
    """The application, ready, on fakes."""
    settings = make_settings(bundles, explain_max_batch=3, explain_queue_capacity=4)
    async with running(settings, engine.build, explainer.build) as ready:
        engine.forget()
        explainer.forget()
        yield ready
        engine.gate.set()
        explainer.gate.set()


def depth(service: Running) -> int:
    """Give how many explanations wait."""
    explaining = service.runtime.models.get(None).explaining
    assert explaining is not None
    return explaining.depth


async def occupy(service: Running, explainer: FakeExplainer) -> asyncio.Task[Any]:
    """Have the explainer run one image and hold it there."""
    explainer.gate.clear()
    task = asyncio.create_task(service.client.post(EXPLAIN, content=make_png()))
    await until(lambda: explainer.entered.acquire(blocking=False))
    return task


async def test_result_is_the_predictions_and_an_explanation(explaining: Running) -> None:
    """Nothing of the prediction changes, and the explanation has the documented members."""
    file = make_dicom(170)
    predicted = (await explaining.client.post(PREDICT, content=file)).json()
    response = await explaining.client.post(EXPLAIN, content=file)
    answer = response.json()
    [result], timings = answer["results"], answer["timings_ms"]
    explanation = result.pop("explanation")
    assert [result] == predicted["results"]
    assert answer["model"] == predicted["model"]
    assert answer.keys() == predicted.keys()
    assert list(timings) == ["decode", "queue", "inference", "explain", "total"]
    assert timings["total"] >= timings["explain"] > 0
    heatmap = explanation.pop("heatmap")
    assert (heatmap["height"], heatmap["width"]) == (CELLS, CELLS)
    assert heatmap["values"][0] == [0.0, 1.0, 0.0, 0.0]
    assert all(value == round(value, 4) for row in heatmap["values"] for value in row)
    for name, mode in (("heatmap_png", "P"), ("overlay_png", "RGB")):
        with Image.open(io.BytesIO(base64.b64decode(explanation.pop(name)))) as picture:
            assert (picture.format, picture.mode) == ("PNG", mode)
    assert explanation == {"method": "gradcam", "layer": "fake_layer", "target": "PNEUMONIA"}
    assert "explain;dur=" in response.headers["server-timing"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", ["NORMAL", "PNEUMONIA"])
async def test_class_and_method_are_chosen(
    explaining: Running, explainer: FakeExplainer, target: str, method: str
) -> None:
    """Any class can be explained in any way."""
    query = {"target": target, "method": method, "operating_point": "rule-out"}
    answer = (await explaining.client.post(EXPLAIN, params=query, content=make_png())).json()
    explanation = answer["results"][0]["explanation"]
    assert (explanation["target"], explanation["method"]) == (target, method)
    column = ["NORMAL", "PNEUMONIA"].index(target)
    assert explanation["heatmap"]["values"][METHODS.index(method)][column] == 1.0  # type: ignore[arg-type]
    assert explainer.batches == [[(column, method)]]
    assert answer["results"][0]["operating_point"]["name"] == "rule-out"


@pytest.mark.parametrize("spelling", ["gradcam++", "gradcam%2B%2B"], ids=["typed", "escaped"])
async def test_former_name_of_a_method_still_counts(
    explaining: Running, explainer: FakeExplainer, spelling: str
) -> None:
    """Escaped or typed into a URL, and who asks by it is answered by it."""
    response = await explaining.client.post(f"{EXPLAIN}?method={spelling}", content=make_png())
    assert response.json()["results"][0]["explanation"]["method"] == "gradcam++"
    assert explainer.batches == [[(1, "gradcam_plus_plus")]]
    models = (await explaining.client.get("/v1/models")).json()["models"]
    assert models[0]["explain"]["methods"] == ["gradcam", "gradcam_plus_plus", "layercam"]


async def test_overlay_itself_can_be_had(explaining: Running) -> None:
    """As PNG, it is the picture of the JSON answer, with id and timings in the headers."""
    client, file = explaining.client, make_jpeg(150, width=300, height=200)
    headers = {"Accept": "image/png", "X-Request-ID": "abc"}
    picture = await client.post(EXPLAIN, content=file, headers=headers)
    answer = await client.post(EXPLAIN, content=file)
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["x-request-id"] == "abc"
    assert "explain;dur=" in picture.headers["server-timing"]
    assert {r.headers["vary"] for r in (picture, answer)} == {"Accept"}
    overlay = answer.json()["results"][0]["explanation"]["overlay_png"]
    assert picture.content == base64.b64decode(overlay)
    assert Image.open(io.BytesIO(picture.content)).width == 512
    assert Image.open(io.BytesIO(picture.content)).height > 341


async def test_alpha_is_the_overlays_opacity(explaining: Running) -> None:
    """At 0 the radiograph alone is shown."""

    async def picture(alpha: float) -> Any:
        response = await explaining.client.post(
            EXPLAIN, content=make_png(), params={"alpha": alpha}, headers={"Accept": "image/png"}
        )
        return np.asarray(Image.open(io.BytesIO(response.content)))[:512, :512].astype(int)

    plain, half, full = [await picture(alpha) for alpha in (0.0, 0.5, 1.0)]
    assert np.ptp(plain, axis=2).max() == 0
    assert 0 < np.abs(half - plain).max() < np.abs(full - plain).max()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"target": "LUPUS"}, "NORMAL, PNEUMONIA"),
        ({"target": ""}, "target is empty"),
        ({"method": "magic"}, "gradcam"),
        ({"alpha": "1.1"}, "alpha"),
        ({"alpha": "-0.1"}, "alpha"),
        ({"alpha": "nan"}, "alpha"),
        ({"alpha": "much"}, "alpha"),
        ({"layer": "layer3"}, "unknown parameter"),
        ({"operating_point": "zz"}, "balanced, rule-out"),
        ({"target": ["NORMAL", "PNEUMONIA"]}, "more than once"),
    ],
)
async def test_wrong_wishes_are_refused(
    explaining: Running, engine: FakeEngine, query: dict[str, Any], says: str
) -> None:
    """The problem says what there is, and nothing is run."""
    response = await explaining.client.post(EXPLAIN, params=query, content=make_png())
    assert says in verify_problem(response, 400, "invalid-request")["detail"]
    assert engine.batches == []


async def test_several_images_are_refused(explaining: Running, engine: FakeEngine) -> None:
    """One is explained at a time."""
    response = await explaining.client.post(EXPLAIN, files=[("files", make_png())] * 2)
    assert "2 images" in verify_problem(response, 400, "invalid-request")["detail"]
    assert engine.batches == []


@pytest.mark.parametrize(
    ("request_", "status", "slug"),
    [
        ({"content": make_jpeg()[:-200]}, 422, "unreadable-image"),
        ({"content": b"GIF89a"}, 415, "unsupported-media"),
        ({"content": make_png(), "params": {"model": "zz"}}, 404, "unknown-model"),
        ({"json": {"images": [{"data": "***"}]}}, 400, "invalid-request"),
        ({"content": make_png(), "headers": {"Accept": "text/html"}}, 406, "not-acceptable"),
        (
            {"content": b"junk", "headers": {"Accept": "image/png"}},
            415,
            "unsupported-media",
        ),
    ],
    ids=["cut", "gif", "model", "base64", "accept", "problem instead of a picture"],
)
async def test_bad_request_gets_its_problem(
    explaining: Running, request_: dict[str, Any], status: int, slug: str
) -> None:
    """As predictions do, whatever form of answer is accepted."""
    verify_problem(await explaining.client.post(EXPLAIN, **request_), status, slug)


@pytest.mark.parametrize(
    "request_",
    [
        {"files": {"files": ("a", make_png(150))}},
        {"json": {"images": [{"id": "a", "data": base64.b64encode(make_png(150)).decode()}]}},
    ],
    ids=["multipart", "json"],
)
async def test_image_can_be_sent_in_any_form(explaining: Running, request_: dict[str, Any]) -> None:
    """As for predictions, and the id is kept."""
    [result] = (await explaining.client.post(EXPLAIN, **request_)).json()["results"]
    assert result["status"] == "ok"
    assert result["id"] == "a"


async def test_mismatch_is_told_and_no_picture_given(
    explaining: Running, explainer: FakeExplainer
) -> None:
    """What explains another answer than the one served is withheld; predictions go on."""
    explainer.shift = 0.02
    for accept in ("image/png", "application/json"):
        response = await explaining.client.post(
            EXPLAIN, content=make_png(), headers={"Accept": accept}
        )
        verify_problem(response, 500, "explanation-mismatch")
    assert (await explaining.client.post(PREDICT, content=make_png())).status_code == 200
    explainer.shift = 0.005  # rounding
    assert (await explaining.client.post(EXPLAIN, content=make_png())).status_code == 200
    explainer.shift = float("nan")
    verify_problem(
        await explaining.client.post(EXPLAIN, content=make_png()), 500, "inference-failed"
    )


@pytest.mark.parametrize(("level", "warning"), [(0.0, EMPTY), (0.4, FLAT)])
async def test_heatmap_that_points_nowhere_says_so(
    explaining: Running, explainer: FakeExplainer, level: float, warning: str
) -> None:
    """And nothing in it is stretched."""
    explainer.level = level
    [result] = (await explaining.client.post(EXPLAIN, content=make_png())).json()["results"]
    assert result["warnings"] == [warning]
    assert result["explanation"]["heatmap"]["values"] == [[level] * CELLS] * CELLS


async def test_explanations_share_batches(explaining: Running, explainer: FakeExplainer) -> None:
    """Those that come during a run share the next one, each with its own class and method."""
    first = await occupy(explaining, explainer)
    wishes = [("NORMAL", "layercam"), ("PNEUMONIA", "gradcam_plus_plus"), ("NORMAL", "gradcam")]
    others = []
    for number, (target, method) in enumerate(wishes):
        query = {"target": target, "method": method}
        file = make_flat_png(60 * number + 10)
        post = explaining.client.post(EXPLAIN, params=query, content=file)
        others.append(asyncio.create_task(post))
        # A full batch is formed, and so leaves the queue, while the one before it runs.
        await until(lambda number=number: depth(explaining) == (number + 1) % 3)  # type: ignore[misc]
    explainer.gate.set()
    answers = [(await one).json()["results"][0]["explanation"] for one in (first, *others)]
    assert explainer.batches == [
        [(1, "gradcam")],
        [(0, "layercam"), (1, "gradcam_plus_plus"), (0, "gradcam")],
    ]
    assert [(a["target"], a["method"]) for a in answers[1:]] == wishes
    corners = [answer["heatmap"]["values"][3][3] for answer in answers[1:]]
    assert corners == [round(grey / 255, 4) for grey in (10, 70, 130)]


async def test_predictions_go_on_while_an_explanation_hangs(
    explaining: Running, explainer: FakeExplainer
) -> None:
    """They share no queue and no thread."""
    first = await occupy(explaining, explainer)
    async with asyncio.timeout(5):
        for _ in range(5):
            response = await explaining.client.post(PREDICT, content=make_png())
            assert response.status_code == 200
        health = (await explaining.client.get("/health")).json()
    assert health["models"][0]["explain_queue_depth"] == 0
    assert not first.done()
    explainer.gate.set()
    assert (await first).status_code == 200
    assert len(explainer.prepared) == 1
    assert explainer.prepared[0] != threading.get_ident()


async def test_full_queue_is_refused(explaining: Running, explainer: FakeExplainer) -> None:
    """Explanations in excess get 429 before their image is read; predictions do not."""
    first = await occupy(explaining, explainer)
    others = []
    for _ in range(7):  # a batch of three is formed ahead, four wait
        post = explaining.client.post(EXPLAIN, content=make_png())
        others.append(asyncio.create_task(post))
        await asyncio.sleep(0.02)
    await until(lambda: depth(explaining) == 4)
    refused = await explaining.client.post(EXPLAIN, content=b"not even an image")
    verify_problem(refused, 429, "queue-full")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await explaining.client.post(PREDICT, content=make_png())).status_code == 200
    explainer.gate.set()
    assert {(await one).status_code for one in (first, *others)} == {200}


async def test_pictures_under_way_are_bounded(
    explaining: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where drawing is slower than explaining, no pictures pile up."""
    one = explaining.runtime.models.get(None).explaining
    assert isinstance(one, ExplainHere)
    monkeypatch.setattr(one._renderer, "_waiting", 4)
    response = await explaining.client.post(EXPLAIN, content=make_png())
    verify_problem(response, 429, "queue-full")


async def test_pictures_are_not_drawn_on_the_event_loop(
    explaining: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop answers probes meanwhile."""
    render, threads = pictures.render_overlay, []

    def watched(*arguments: Any) -> bytes:
        threads.append(threading.current_thread())
        return render(*arguments)

    monkeypatch.setattr(pictures, "render_overlay", watched)
    await explaining.client.post(EXPLAIN, content=make_png())
    await explaining.client.post(EXPLAIN, content=make_png(), headers={"Accept": "image/png"})
    assert len(threads) == 2
    assert threading.main_thread() not in threads


async def test_pixels_are_kept_for_explanations_only(
    explaining: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prediction lets the decoded image go; an explanation keeps it at the size shown."""
    kept, prepare = [], prediction.prepare_image

    def watched(*arguments: Any, **options: Any) -> Any:
        image = prepare(*arguments, **options)
        kept.append(image.picture)
        return image

    monkeypatch.setattr(prediction, "prepare_image", watched)
    large = make_png(width=990, height=900)
    await explaining.client.post(PREDICT, content=large)
    await explaining.client.post(EXPLAIN, content=make_png(width=90, height=60 + 4))
    await explaining.client.post(EXPLAIN, content=large)
    assert [image if image is None else image.shape for image in kept] == [
        None,
        (364, 512),
        (900, 990),
    ]


async def test_deadline_drops_what_was_not_run(
    bundles: Path, engine: FakeEngine, explainer: FakeExplainer
) -> None:
    """An explanation that waits beyond the deadline gets 504 at once."""
    settings = make_settings(bundles, deadline_ms=300)
    async with running(settings, engine.build, explainer.build) as service:
        explainer.forget()
        first = await occupy(service, explainer)
        late = await service.client.post(EXPLAIN, content=make_png())
        verify_problem(late, 504, "deadline-exceeded")
        explainer.gate.set()
        await first
    assert len(explainer.batches) == 1


async def test_disconnected_client_is_not_explained(
    explaining: Running, explainer: FakeExplainer
) -> None:
    """Its image leaves the queue."""
    first = await occupy(explaining, explainer)
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": make_png()})

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": EXPLAIN, "headers": [], "query_string": b""}
    gone = asyncio.create_task(explaining.app(scope, messages.get, send))
    await until(lambda: depth(explaining) == 1)
    messages.put_nowait({"type": "http.disconnect"})
    async with asyncio.timeout(5):
        await gone
    explainer.gate.set()
    assert (await first).status_code == 200
    assert len(explainer.batches) == 1


async def test_failure_and_nan_fail_alone(explaining: Running, explainer: FakeExplainer) -> None:
    """A heatmap that is not finite does not hurt its neighbours in the batch."""
    explainer.poisoned = True
    first = await occupy(explaining, explainer)
    files = [make_png(60), make_flat_png(POISON), make_png(90)]
    tasks = [asyncio.create_task(explaining.client.post(EXPLAIN, content=f)) for f in files]
    await asyncio.sleep(0.1)
    explainer.gate.set()
    statuses = [(await one).status_code for one in (first, *tasks)]
    assert statuses == [200, 200, 500, 200]
    explainer.fails = True
    response = await explaining.client.post(EXPLAIN, content=make_png())
    verify_problem(response, 500, "inference-failed")
    assert "secret" not in response.text


async def test_stop_finishes_what_was_accepted(
    bundles: Path, engine: FakeEngine, explainer: FakeExplainer
) -> None:
    """Draining explains what waits, and draws it."""
    async with running(make_settings(bundles), engine.build, explainer.build) as service:
        explainer.forget()
        first = await occupy(service, explainer)
        second = asyncio.create_task(service.client.post(EXPLAIN, content=make_png()))
        await until(lambda: depth(service) == 1)
        service.runtime.lifecycle.drain()
        verify_problem(await service.client.post(EXPLAIN, content=b"x"), 503, "not-ready")
        explainer.gate.set()
        assert await service.runtime.lifecycle.finish_accepted(10.0)
        assert [(await one).status_code for one in (first, second)] == [200, 200]


async def test_models_say_what_can_be_explained(bundles: Path, explainer: FakeExplainer) -> None:
    """And nothing where it is off."""
    for build, expected in (
        (explainer.build, {"layer": "fake_layer", "methods": [*METHODS], "precision": "fp32"}),
        (None, None),
    ):
        async with running(make_settings(bundles), build_engine, build) as service:
            [model] = (await service.client.get("/v1/models")).json()["models"]
            health = (await service.client.get("/health")).json()["models"][0]
        assert model["explain"] == expected
        assert health["explain_queue_depth"] == (None if expected is None else 0)


@pytest.mark.parametrize(
    ("offered", "asked", "status", "slug"),
    [
        (["gradcam"], "gradcam", 200, ""),
        (["gradcam"], "layercam", 400, "invalid-request"),
        (["layercam"], "gradcam", 400, "invalid-request"),
        ([], "gradcam", 501, "explain-disabled"),
    ],
)
async def test_methods_that_did_not_pass_are_not_offered(
    tmp_path: Path,
    explainer: FakeExplainer,
    offered: list[str],
    asked: str,
    status: int,
    slug: str,
) -> None:
    """The model says which ones did; asking for another names them, before the body is read."""
    make_bundle(tmp_path, explain_methods=offered)
    async with running(make_settings(tmp_path), build_engine, explainer.build) as service:
        [model] = (await service.client.get("/v1/models")).json()["models"]
        response = await service.client.post(
            EXPLAIN, params={"method": asked}, content=make_png(99)
        )
        predicted = await service.client.post(PREDICT, content=make_png(99))
    assert (model["explain"] or {"methods": []})["methods"] == offered
    assert response.status_code == status
    assert predicted.status_code == 200
    if slug:
        problem = verify_problem(response, status, slug)
        assert all(name in problem["detail"] for name in offered)


async def test_client_explains(explaining: Running, tmp_path: Path) -> None:
    """Typed numbers and the files of both pictures."""
    path = tmp_path / "a.png"
    path.write_bytes(make_png(170))
    transport = httpx.ASGITransport(explaining.app)
    async with AsyncClient("http://test", transport=transport) as client:
        answer = await client.explain(path, target="NORMAL", method="gradcam_plus_plus", alpha=0.3)
        default = await client.explain(path.read_bytes())
    assert isinstance(answer, ExplainAnswer)
    [result] = answer.results
    assert (result.explanation.target, result.explanation.method) == ("NORMAL", "gradcam_plus_plus")
    assert result.explanation.heatmap.values[1][0] == 1.0
    assert result.explanation.overlay_image().startswith(b"\x89PNG")
    assert result.explanation.heatmap_image().startswith(b"\x89PNG")
    assert default.results[0].explanation.target == "PNEUMONIA"
    assert answer.timings_ms.explain > 0


async def test_openapi_example_runs(explaining: Running) -> None:
    """Whoever copies it gets an explanation; all forms of the answer are documented."""
    document = (await explaining.client.get("/openapi.json")).json()
    post = document["paths"][EXPLAIN]["post"]
    [example] = post["requestBody"]["content"]["application/json"]["examples"].values()
    response = await explaining.client.post(EXPLAIN, json=example["value"])
    assert response.status_code == 200
    ExplainAnswer.model_validate_json(response.content)
    forms = {"application/json", "image/png", "application/dicom", MULTIPART_DICOM}
    assert set(post["responses"]["200"]["content"]) == forms
    assert {"406", "501"} <= set(post["responses"])
    query = {parameter["name"]: parameter["schema"] for parameter in post["parameters"]}
    assert query["method"]["enum"] == [*METHODS]
