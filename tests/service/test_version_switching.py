"""Versions switched under load, by real HTTP: no request lost, none mixed."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from export.phantom import draw_phantom, encode_jpeg
from service.client import Client, Retry
from service.engines.protocol import Engine
from service.engines.registry import build_engine
from service.settings import Settings
from tests.live import LiveServer, running_server
from tests.service.fake_engine import FakeEngine
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import load_of, running, until
from tests.service.make_bundle import logits_of, slope_of
from tests.service.version_tools import (
    IMAGE,
    change,
    control_settings,
    drop_version,
    make_shelf,
    probability_in,
)

pytestmark = pytest.mark.xdist_group("waits")

VERSIONS = ("1.0.0", "2.0.0", "3.0.0")
PIXELS = {"name": "image", "shape": [1, 1, 32, 32], "datatype": "UINT8", "data": [140] * 1024}
ONCE = Retry(attempts=1)


@dataclass
class Load:
    """Clients that ask as fast as they are answered, and check every answer.

    Attributes:
        address: Of the service.
        answered: Answers by version.
        wrong: Whatever was not an answer of one version.
    """

    address: str
    answered: Counter[str] = field(default_factory=Counter)
    wrong: list[object] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def check(self, version: str, probability: float, wanted: str | None = None) -> None:
        """Compare an answer with what its version answers."""
        self.answered[version] += 1
        gap = abs(probability - probability_in(version))
        if gap > 1e-4 or wanted not in (None, version):
            self.wrong.append((version, probability, wanted))

    def predict(self) -> None:
        """Ask by the client of the project."""
        with Client(self.address, retry=ONCE) as client:
            while not self._stop.is_set():
                answer = client.predict([IMAGE, IMAGE])
                for result in answer.results:
                    assert result.status == "ok"
                    self.check(answer.model.version, result.probability)

    def predict_named(self) -> None:
        """Ask for one version, which stays loaded throughout."""
        with Client(self.address, retry=ONCE) as client:
            while not self._stop.is_set():
                answer = client.predict(IMAGE, model="resnet18@1.0.0")
                [result] = answer.results
                assert result.status == "ok"
                self.check(answer.model.version, result.probability, "1.0.0")

    def infer(self) -> None:
        """Ask by the inference protocol."""
        with httpx.Client(base_url=self.address) as client:
            while not self._stop.is_set():
                response = client.post("/v2/models/resnet18/infer", json={"inputs": [PIXELS]})
                answer = response.raise_for_status().json()
                [got] = [o["data"][0] for o in answer["outputs"] if o["name"] == "probability"]
                self.check(answer["model_version"], got)

    def run(self, *loops: Callable[[], None], meanwhile: Callable[[], None]) -> None:
        """Ask in as many threads while something is done."""

        def ask(loop: Callable[[], None]) -> None:
            try:
                loop()
            except Exception as error:
                self.wrong.append(error)

        with ThreadPoolExecutor(len(loops)) as threads:
            for loop in loops:
                threads.submit(ask, loop)
            try:
                meanwhile()
            finally:
                self._stop.set()


@pytest.fixture
def switching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """A process that serves 1.0.0 and keeps it on standby."""
    for name, value in {
        "MODEL_CONTROL": "on",
        "EXPLAIN": "off",
        "STANDBY_VERSIONS": "2",
        "MODELS": "resnet18",
        "WATCH_BUNDLES_S": "0.1",
    }.items():
        monkeypatch.setenv(f"CXR_{name}", value)
    make_shelf(tmp_path / "shelf", "1.0.0")
    with running_server(tmp_path / "shelf") as server:
        yield server


def test_switches_under_load_lose_and_mix_nothing(switching: LiveServer, tmp_path: Path) -> None:
    """Versions are dropped in, loaded, rolled back and unloaded while four clients ask."""
    load = Load(switching.address)
    control = httpx.Client(base_url=switching.address, timeout=30)
    model = "/v1/models/resnet18"

    def active() -> str:
        answer: str = control.get(model).json()["version"]
        return answer

    def reach(version: str) -> None:
        limit_s = time.monotonic() + 20
        while active() != version:
            assert time.monotonic() < limit_s
            time.sleep(0.02)

    def meanwhile() -> None:
        for version in VERSIONS[1:]:
            drop_version(tmp_path / "shelf", version, tmp_path / "made")
            reach(version)
            time.sleep(0.2)
        for _ in range(4):
            for verb, version in (
                ("rollback", "1.0.0"),
                ("load", "3.0.0"),
                ("unload", "2.0.0"),
                ("load", "2.0.0"),
                ("load", "3.0.0"),
                ("rollback", "2.0.0"),
            ):
                answer = control.post(f"{model}:{verb}", json={"version": version})
                assert answer.status_code == 200, answer.text
                time.sleep(0.03)
        shutil.rmtree(tmp_path / "shelf")
        time.sleep(0.3)

    load.run(load.predict, load.predict, load.predict_named, load.infer, meanwhile=meanwhile)
    control.close()
    assert load.wrong == []
    assert set(load.answered) == set(VERSIONS)
    assert sum(load.answered.values()) > 200


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_returns_after_unloading(switching: LiveServer, tmp_path: Path) -> None:
    """Thirty times loaded and unloaded is not thirty times the memory."""
    assert switching.process is not None
    statm = Path(f"/proc/{switching.process.pid}/statm")

    def held_bytes() -> int:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    make_shelf(tmp_path / "shelf", "0.9.0")
    with httpx.Client(base_url=switching.address, timeout=30) as client:

        def turn() -> None:
            body: dict[str, Any] = {"version": "0.9.0"}
            for verb, more in (("load", {"activate": False}), ("unload", {})):
                response = client.post(f"/v1/models/resnet18:{verb}", json=body | more)
                assert response.status_code == 200, response.text

        for _ in range(5):
            turn()
        before = held_bytes()
        for _ in range(30):
            turn()
        assert held_bytes() - before < 20 * 1024 * 1024


class SlopedExplainer(FakeExplainer):
    """Explains the answers of one version."""

    version = "1.0.0"

    def explain(self, images: NDArray[np.uint8], *rest: Any) -> Any:
        """Answer as the version's graph."""
        found = super().explain(images, *rest)
        logits = logits_of(images, slope_of(self.version))
        return [type(one)(one.heatmap, row, row) for one, row in zip(found, logits, strict=True)]


def build_explainer(bundle: Bundle, provider: str, settings: Settings) -> SlopedExplainer:
    """Stand in for a builder of explainers."""
    explainer = SlopedExplainer()
    explainer.version = bundle.manifest.version
    return explainer


@pytest.mark.anyio
async def test_explanation_is_of_the_version_that_read(tmp_path: Path) -> None:
    """Switched between the engine's run and the explainer's, one request stays with one version."""
    make_shelf(tmp_path, "1.0.0")
    held = FakeEngine(runs_on_cores=True)

    def build(bundle: Bundle, settings: Settings) -> Engine:
        is_held = bundle.manifest.version == "1.0.0"
        return held.build(bundle, settings) if is_held else build_engine(bundle, settings)

    settings = control_settings(tmp_path, workers=2, standby_versions=0)
    async with running(settings, build, build_explainer) as service:
        held.gate.clear()
        begun = asyncio.create_task(service.client.post("/v1/explain", content=IMAGE))
        await until(lambda: load_of(service).images == 1)
        make_shelf(tmp_path, "2.0.0")
        await change(service, "load", "2.0.0")
        held.gate.set()
        response = await begun
        assert response.status_code == 200, response.text
        assert response.json()["model"]["version"] == "1.0.0"


@pytest.mark.anyio
async def test_explanations_are_of_the_version_that_answered(tmp_path: Path) -> None:
    """Prediction, explanation and their comparison are one version's, in the middle of switches."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")

    settings = control_settings(tmp_path, workers=2, standby_versions=0)
    async with running(settings, build_engine, build_explainer) as service:
        done = asyncio.Event()
        seen: Counter[str] = Counter()

        async def explain() -> None:
            while not done.is_set():
                response = await service.client.post("/v1/explain", content=IMAGE)
                assert response.status_code == 200, response.text
                answer = response.json()
                version = answer["model"]["version"]
                got = answer["results"][0]["probability"]
                assert got == pytest.approx(probability_in(version), abs=1e-4)
                seen[version] += 1

        clients = [asyncio.create_task(explain()) for _ in range(3)]
        for turn in range(12):
            response = await change(service, "load", VERSIONS[turn % 2])
            assert response.status_code == 200, response.text
            await asyncio.sleep(0.05)
        done.set()
        await asyncio.gather(*clients)
        assert set(seen) == {"1.0.0", "2.0.0"}


def test_files_may_be_overwritten_under_a_loaded_version(
    shipped_bundles: Path, tmp_path: Path
) -> None:
    """Engine and explainer map no file: cutting them in place would end the process."""
    shutil.copytree(shipped_bundles / "resnet18", tmp_path / "resnet18")
    image = encode_jpeg(draw_phantom(3, 1.0))
    with running_server(tmp_path) as server, Client(server.address) as client:
        before = client.explain(image).results[0]  # which is tried again until it is ready
        for file in tmp_path.rglob("*"):
            if file.is_file():
                os.truncate(file, 0)
        after = client.explain(image).results[0]
        assert (after.probability, after.explanation) == (before.probability, before.explanation)
