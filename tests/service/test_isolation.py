"""The application with its worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import httpx
import pytest

from service.engines.registry import build_engine
from service.explain.building import build_explainer
from service.workers.pool import WorkerPool
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, running, until
from tests.service.make_bundle import make_bundle
from tests.service.make_images import make_png
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

PREDICT, EXPLAIN = "/v1/predict", "/v1/explain"


def pool_of(service: Running) -> WorkerPool:
    """Give the workers."""
    pool = service.runtime.pool
    assert isinstance(pool, WorkerPool)
    return pool


def told(response: httpx.Response) -> object:
    """Give what is told of an image, whichever process answered."""
    assert response.status_code == 200, response.text
    return response.json()["results"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_processes_answer_as_threads_do(bundles: Path, workers: int) -> None:
    """To the last digit, one image or many, good or bad."""
    files = [make_png(grey) for grey in (10, 90, 170, 250)]
    form = [("files", (f"{i}.png", file)) for i, file in enumerate([*files, b"no image"])]
    answers = []
    for isolation in ("threads", "processes"):
        settings = make_settings(bundles, isolation=isolation, workers=workers)
        async with running(settings, build_engine) as service:
            alone = [told(await service.client.post(PREDICT, content=file)) for file in files]
            many = (await service.client.post(PREDICT, files=form)).json()["results"]
            bad = await service.client.post(PREDICT, content=files[0][:90])
            verify_problem(bad, 422, "unreadable-image")
        for result in many:
            result.get("problem", {}).pop("request_id", None)
        answers.append((alone, many))
    assert answers[0] == answers[1]


async def test_killed_workers_are_nobodys_loss(bundles: Path) -> None:
    """Eight clients get every answer, the same one each time, while workers are killed."""
    settings = make_settings(bundles, isolation="processes", workers=2, queue_capacity=64)
    async with running(settings, build_engine) as service:
        pool = pool_of(service)
        expected = told(await service.client.post(PREDICT, content=make_png(200)))
        seen: list[object] = []
        is_over = False

        async def ask() -> None:
            while not is_over:
                seen.append(told(await service.client.post(PREDICT, content=make_png(200))))

        clients = [asyncio.create_task(ask()) for _ in range(8)]
        for killed, number in enumerate((signal.SIGKILL, signal.SIGSEGV, signal.SIGKILL)):
            os.kill(pool.pids[0], number)
            await until(lambda killed=killed: pool.ended > killed)  # type: ignore[misc]
            # One job that loses two workers is taken for the cause: let those that wait go first.
            before = len(seen)
            await until(lambda before=before: len(seen) > before + 20)  # type: ignore[misc]
        is_over = True
        await asyncio.gather(*clients)
        assert all(one == expected for one in seen)
        page = (await service.client.get("/metrics")).text
        assert 'cxr_workers_ended_total{work="predict"} 3.0' in page
        await until(lambda: len(pool.pids) == 2)


async def test_versions_side_by_side_are_not_mixed(tmp_path: Path) -> None:
    """Each request gets the answer of the version it names, however many wait with it."""
    for number, slope in (("1.0.0", 0.02), ("2.0.0", 0.05)):
        make_bundle(tmp_path, f"resnet18/{number}", slope=slope, version=number)
    settings = make_settings(tmp_path, isolation="processes", workers=1, queue_capacity=200)
    async with running(settings, build_engine) as service:
        await service.runtime.deployment.load("resnet18", "1.0.0", activate=False)
        image = make_png(150)

        async def ask(number: str) -> tuple[str, float]:
            query = {"model": f"resnet18@{number}"}
            answer = (await service.client.post(PREDICT, params=query, content=image)).json()
            return answer["model"]["version"], answer["results"][0]["probability"]

        expected = dict([await ask("1.0.0"), await ask("2.0.0")])
        assert len(set(expected.values())) == 2
        seen = await asyncio.gather(*(ask(("1.0.0", "2.0.0")[i % 2]) for i in range(60)))
        assert set(seen) == set(expected.items())
        assert [number for number, _ in seen] == ["1.0.0", "2.0.0"] * 30


async def test_a_device_stays_in_this_process(bundles: Path, engine: FakeEngine) -> None:
    """It batches what the workers decoded; they load no model."""
    settings = make_settings(bundles, isolation="processes", workers=2)
    async with running(settings, engine.build, runs_on_cores=lambda _: False) as service:
        engine.forget()
        files = [("files", (f"{i}.png", make_png(40 * i))) for i in range(4)]
        results = (await service.client.post(PREDICT, files=files)).json()["results"]
        assert [one["status"] for one in results] == ["ok"] * 4
        assert len({one["probability"] for one in results}) == 4
        assert sum(engine.batches) == 4
        os.kill(pool_of(service).pids[0], signal.SIGKILL)
        assert told(await service.client.post(PREDICT, content=make_png(40))) == [
            {**results[1], "id": "0"}
        ]


async def test_explanations_come_on_their_own(smoke_bundle: Path) -> None:
    """Predictions are there first; whatever ends what explains, they go on, and it comes back."""
    settings = make_settings(smoke_bundle, models="", isolation="processes", explain="graph")
    async with running(settings, build_engine, build_explainer) as service:
        client, explaining = service.client, service.runtime.explain_process
        assert explaining is not None
        assert (await client.post(PREDICT, content=make_png(90))).status_code == 200
        early = await client.post(EXPLAIN, content=make_png(90))
        if early.status_code != 200:
            problem = verify_problem(early, 503, "not-ready")
            assert "Explanations" in problem["detail"]
            assert int(early.headers["retry-after"]) >= 1
        await service.runtime.explainers_came()
        first = told(await client.post(EXPLAIN, content=make_png(90)))
        os.kill(explaining.pool.pids[0], signal.SIGKILL)
        await until(lambda: explaining.pool.ended == 1)
        verify_problem(await client.post(EXPLAIN, content=make_png(90)), 503, "not-ready")
        assert (await client.post(PREDICT, content=make_png(90))).status_code == 200
        await until(lambda: explaining.pool.is_ready)
        assert told(await client.post(EXPLAIN, content=make_png(90))) == first
