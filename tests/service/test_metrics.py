"""What Prometheus is told, and what it must not be told."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.engines.cuda_driver import GpuMemoryReader
from service.telemetry.metrics import (
    DECISION_SHARE,
    DRIFT_PSI,
    GPU_TOTAL,
    GPU_USED,
    METRICS,
    VERSION_METRICS,
    WORKERS_CPU,
    WORKERS_MEMORY,
)
from service.telemetry.prometheus import Metrics, ServiceState
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, load_of, running, until
from tests.service.make_images import make_dicom, make_png

pytestmark = pytest.mark.anyio

CANARIES = ("Canary", "CANARY", "Z4711", "Jane")  # none can occur in a hexadecimal id
SHADOW_METRICS = tuple(one for one in VERSION_METRICS if one.name.startswith("cxr_shadow_"))
ABSENT = (
    *(DECISION_SHARE, DRIFT_PSI, GPU_TOTAL, GPU_USED, *SHADOW_METRICS),
    *(WORKERS_CPU, WORKERS_MEMORY),
)
"""Until there are images enough, without a device, and without processes."""

PROMETHEUS_NAME = re.compile(r"cxr_[a-z_]+")


async def scrape(service: Running) -> dict[tuple[str, ...], float]:
    """Read the page: values by name and label values, in the order of the declaration."""
    response = await service.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    labels = {metric.name.removesuffix("_total"): metric.labels for metric in METRICS}
    return {
        (sample.name, *(sample.labels[name] for name in labels.get(family.name, ()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


async def test_answered_images_are_counted_and_measured(service: Running) -> None:
    """One request of two images: requests, images, decoding, wait, run and batch."""
    files = [("files", ("Jane.png", make_png(grey))) for grey in (60, 200)]
    assert (await service.client.post("/v1/predict", files=files)).status_code == 200
    told = await scrape(service)
    assert told["cxr_requests_total", "/v1/predict", "200"] == 1
    assert told["cxr_request_duration_seconds_count", "/v1/predict"] == 1
    assert told["cxr_images_total", "resnet18", "negative"] == 1
    assert told["cxr_images_total", "resnet18", "positive"] == 1
    assert told["cxr_decode_duration_seconds_count",] == 2
    assert told["cxr_decode_duration_seconds_sum",] > 0
    assert told["cxr_queue_wait_seconds_count", "resnet18", "predict"] == 2
    assert told["cxr_batch_size_sum", "resnet18", "predict"] == 2
    runs = told["cxr_run_duration_seconds_count", "resnet18", "predict"]
    assert told["cxr_batch_size_count", "resnet18", "predict"] == runs
    assert told["process_cpu_seconds_total",] > 0


async def test_bad_images_are_counted_by_problem(service: Running) -> None:
    """One of many, one alone, and one by the inference protocol."""
    cut = make_png()[:-60]
    files = [("files", ("a", make_png())), ("files", ("b", cut)), ("files", ("c", make_dicom()))]
    assert (await service.client.post("/v1/predict", files=files)).status_code == 200
    assert (await service.client.post("/v1/predict", content=cut)).status_code == 422
    told = await scrape(service)
    assert told["cxr_image_failures_total", "resnet18", "unreadable-image"] == 2
    assert told["cxr_requests_total", "/v1/predict", "422"] == 1
    assert told["cxr_decode_duration_seconds_count",] == 2
    assert not [key for key in told if key[0] == "cxr_request_problems_total"]


async def test_protocol_images_are_counted_too(service: Running) -> None:
    """A good and a bad request of the inference protocol, whose last image spoils all."""
    length = "Inference-Header-Content-Length"
    for bad in (False, True):
        images = [make_png(200), make_png(200)[:-60] if bad else make_png(200)]
        tail = b"".join(len(image).to_bytes(4, "little") + image for image in images)
        head = (
            '{"inputs": [{"name": "image_bytes", "shape": [2], "datatype": "BYTES", '
            f'"parameters": {{"binary_data_size": {len(tail)}}}}}]}}'
        ).encode()
        await service.client.post(
            "/v2/models/resnet18/infer", content=head + tail, headers={length: str(len(head))}
        )
    told = await scrape(service)
    assert told["cxr_requests_total", "/v2/models/{name}/infer", "200"] == 1
    assert told["cxr_images_total", "resnet18", "positive"] == 2
    assert told["cxr_image_failures_total", "resnet18", "unreadable-image"] == 1


async def test_refusals_are_counted(service: Running, engine: FakeEngine) -> None:
    """What is refused at the door, what is no request, and what is no route."""
    engine.gate.clear()
    load = load_of(service)
    first = asyncio.create_task(service.client.post("/v1/predict", content=make_png()))
    await until(lambda: engine.entered.acquire(blocking=False))
    waiting = [
        asyncio.create_task(service.client.post("/v1/predict", content=make_png()))
        for _ in range(12)
    ]
    await until(lambda: load.images == load.capacity)
    assert (await scrape(service))["cxr_queue_depth", "resnet18", "predict"] == load.capacity
    refused = await service.client.post("/v1/predict", content=make_png())
    engine.gate.set()
    answers = [refused, await first, *await asyncio.gather(*waiting)]
    await service.client.post("/v1/predict", content=b"Jane")
    await service.client.post("/v1/predict?model=Jane", content=make_png())
    await service.client.get("/patients/Jane")
    await service.client.get("/v1/models", headers={"X-Request-Timeout-Ms": "Jane"})
    told = await scrape(service)
    refusals = sum(answer.status_code == 429 for answer in answers)
    assert told["cxr_request_problems_total", "queue-full"] == refusals > 0
    assert told["cxr_requests_total", "/v1/predict", "429"] == refusals
    for problem in ("unsupported-media", "unknown-model", "not-found", "invalid-request"):
        assert told["cxr_request_problems_total", problem] == 1
    assert told["cxr_requests_total", "other", "404"] == 1
    assert told["cxr_queue_depth", "resnet18", "predict"] == 0


async def test_state_is_told(real_service: Running) -> None:
    """Readiness and every bundle with what runs it; draining is not ready."""
    models = (await real_service.client.get("/v1/models")).json()["models"]
    told = await scrape(real_service)
    for model in models:
        parts = ("version", "sha256", "engine", "provider", "precision")
        assert told["cxr_bundle_info", model["name"], *(model[part] for part in parts)] == 1
    assert told["cxr_ready",] == 1
    assert told["cxr_waiting_for_core",] == 0
    real_service.runtime.lifecycle.drain()
    assert (await scrape(real_service))["cxr_ready",] == 0


async def test_explanations_are_told_apart(bundles: Path, engine: FakeEngine) -> None:
    """Their queue and runs are work of their own; the image is counted once."""
    settings = make_settings(bundles)
    async with running(settings, engine.build, FakeExplainer().build) as service:
        answer = await service.client.post("/v1/explain", content=make_png())
        assert answer.status_code == 200
        told = await scrape(service)
    assert told["cxr_run_duration_seconds_count", "resnet18", "explain"] == 1
    assert told["cxr_run_duration_seconds_count", "resnet18", "predict"] == 1
    assert told["cxr_queue_depth", "resnet18", "explain"] == 0
    decision = answer.json()["results"][0]["decision"]
    assert told["cxr_images_total", "resnet18", decision] == 1


async def test_page_comes_while_every_core_works(service: Running, engine: FakeEngine) -> None:
    """While all cores and the engine are held; it tells of what waits for them."""
    engine.gate.clear()
    held = service.runtime.pool.submit(engine.gate.wait)
    await until(held.running)
    answers = [
        asyncio.create_task(service.client.post("/v1/predict", content=make_png()))
        for _ in range(3)
    ]
    await until(lambda: service.runtime.pool.waiting == 3)
    assert (await scrape(service))["cxr_waiting_for_core",] == 3
    engine.gate.set()
    assert [(await answer).status_code for answer in answers] == [200] * 3


async def test_nothing_of_a_request_is_a_label(service: Running) -> None:
    """Ids, file names, paths, queries and header values stay out, whatever is sent."""
    client, headers = service.client, {"X-Request-ID": "Jane-Z4711"}
    files = [("files", ("Jane.dcm", make_dicom())), ("files", ("Jane.dcm", make_dicom()[:-500]))]
    await client.post("/v1/predict", files=files, headers=headers)
    await client.post("/v1/predict", json={"images": [{"id": "Jane", "data": "Canary"}]})
    await client.post("/v1/predict", content=make_dicom(), params={"model": "Jane"})
    for path in ("/patients/Jane", "/v1/models/Jane", "/page/Jane", "/v2/models/Jane/ready"):
        await client.request("GET", path, headers=headers)
    await client.request("JANEZ4711", "/v1/predict")
    page = (await client.get("/metrics")).text
    assert "cxr_image_failures_total{" in page
    assert not [canary for canary in CANARIES if canary.lower() in page.lower()]


async def test_every_declared_metric_is_told_and_no_other(service: Running) -> None:
    """Names, kinds and labels are as declared, and in Prometheus' way."""
    await service.client.post("/v1/predict", content=make_png())
    await service.client.post("/v1/predict", content=make_png()[:-60])
    await service.client.post("/v1/predict", content=b"Jane")
    await service.client.post(
        "/v1/predict", content=make_dicom(Modality="CR", BodyPartExamined="FOOT")
    )
    page = (await service.client.get("/metrics")).text
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(page)
        if not family.name.startswith("process_")
    }
    every = (*METRICS, *VERSION_METRICS)
    assert families.keys() == {metric.name for metric in every}
    for metric in every:
        family = families[metric.name]
        assert PROMETHEUS_NAME.fullmatch(metric.name)
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        told = {frozenset(s.labels) - {"le"} for s in family.samples}
        if told or metric not in ABSENT:
            assert told == {frozenset(metric.labels)}
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets) == (metric.kind == "histogram")


async def test_stages_failures_and_scope_are_counted(service: Running) -> None:
    """A good image, one that cannot be decoded, one that is none, and one out of scope."""
    foot = make_dicom(Modality="CR", BodyPartExamined="FOOT")
    for content in (make_png(200), make_png()[:-60], b"Jane", foot):
        await service.client.post("/v1/predict", content=content)
    told = await scrape(service)
    assert told["cxr_decode_failures_total", "unreadable-image"] == 1
    assert told["cxr_decode_failures_total", "unsupported-media"] == 1
    assert told["cxr_out_of_scope_total", "resnet18", "body-part"] == 1
    assert told["cxr_probability_count", "resnet18"] == 2
    assert told["cxr_drift_images", "resnet18"] == 2
    for stage, count in (("recv", 4), ("decode", 3), ("queue", 3), ("infer", 2)):
        assert told["cxr_stage_duration_seconds_count", stage] == count, stage


class Driver:
    """Answers as the CUDA driver, but where it is told to fail."""

    def __init__(self, failing: str = "") -> None:
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any) -> int:
            if name == "cuMemGetInfo_v2":
                given[0]._obj.value, given[1]._obj.value = 30, 100
            return int(name == self._failing)

        return call


@pytest.mark.parametrize(
    "failing", ["", "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuMemGetInfo_v2"]
)
async def test_memory_of_the_device_is_told(failing: str) -> None:
    """What is used and what there is; nothing if the driver does not say."""
    gpu = GpuMemoryReader(3, Driver(failing))
    page = Metrics(lambda: ServiceState(gpu=gpu.read())).render()
    assert (b'cxr_gpu_memory_used_bytes{device="3"} 70.0' in page) is (failing == "")
    assert (b'cxr_gpu_memory_total_bytes{device="3"} 100.0' in page) is (failing == "")


async def test_applications_count_for_themselves() -> None:
    """Many in one process, as in these tests, share nothing."""
    one, other = Metrics(), Metrics()
    one.shadow_dropped("resnet18", "2.0.0", "busy")
    assert b"cxr_shadow_dropped_total{" in one.render()
    assert b"cxr_shadow_dropped_total{" not in other.render()
