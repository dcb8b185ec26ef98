"""A second version that answers in the background."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from cxr.bundles.bundle import Bundle
from service.__main__ import main
from service.engines.protocol import Engine
from service.engines.registry import build_engine
from service.settings import Settings, load_settings
from service.telemetry.shadow_report import read_reports
from tests.service.fake_engine import FakeEngine
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, running, until
from tests.service.make_bundle import make_version, slope_of
from tests.service.make_images import make_flat_png, make_png
from tests.service.test_problems import verify_problem
from tests.service.version_tools import (
    answer_of,
    change,
    control_settings,
    make_shelf,
    probability_in,
    states_of,
)

pytestmark = pytest.mark.anyio


def shadowed(root: Path, **changes: Any) -> Settings:
    """Make settings with 1.0.0 in force and 2.0.0 as its shadow."""
    settings = {"models": "resnet18", "shadow": "resnet18@2.0.0", "workers": 2}
    return control_settings(root, **settings | changes)


def engines(**fakes: FakeEngine) -> Any:
    """Build real engines, except for the versions whose fakes are given as ``v2``."""

    def build(bundle: Bundle, settings: Settings) -> Engine:
        fake = fakes.get(f"v{bundle.manifest.version[0]}")
        return build_engine(bundle, settings) if fake is None else fake.build(bundle, settings)

    return build


async def in_force(service: Running, version: str = "1.0.0") -> None:
    """Let a version answer while the shadow is loaded."""
    await until(lambda: len(service.runtime.loaded_models) >= 1)
    await change(service, "load", version)
    await until(lambda: len(service.runtime.loaded_models) == 2)


async def told(service: Running, name: str) -> dict[str, float]:
    """Give the samples of a metric by the rest of their lines."""
    text = (await service.client.get("/metrics")).text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
    return {line: float(value) for line, _, value in lines}


async def compared(service: Running) -> float:
    """Give how many images were compared."""
    return sum((await told(service, "cxr_shadow_images_total")).values())


async def settled(service: Running, count: int) -> None:
    """Wait until so many images were compared or dropped."""
    async with asyncio.timeout(10):
        while (
            await compared(service) + sum((await told(service, "cxr_shadow_dropped")).values())
            < count
        ):
            await asyncio.sleep(0.01)


async def test_shadow_is_compared_with_what_was_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Decisions of both and the difference of their probabilities; the answer is the old one's."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    greys = (100, 126, 131, 160)
    async with running(shadowed(tmp_path), build_engine) as service:
        await in_force(service)
        for grey in greys:
            response = await service.client.post("/v1/predict", content=make_flat_png(grey))
            assert response.json()["model"]["version"] == "1.0.0"
        await settled(service, len(greys))
        page = (await service.client.get("/metrics")).text
        [one] = [
            v for v in (await service.client.get("/v1/models")).json()["versions"] if v["shadow"]
        ]
        assert (one["version"], one["state"]) == ("2.0.0", "standby")
    [report] = read_reports(page)
    assert (report.model, report.version, report.shadow) == ("resnet18", "1.0.0", "2.0.0")
    assert report.images == len(greys)
    gaps = [abs(probability_in("1.0.0", grey) - probability_in("2.0.0", grey)) for grey in greys]
    for bound, count in report.at_most.items():
        assert count == sum(gap <= bound for gap in gaps)
    (tmp_path / "page.txt").write_text(page)
    assert main(["shadow", "--metrics", str(tmp_path / "page.txt")]) == 0
    table = capsys.readouterr().out
    assert "version 1.0.0 in force, shadow 2.0.0" in table
    assert f"same decision    {report.agreeing} ({report.agreeing / 4:.2%})" in table


async def test_disagreement_is_counted_by_its_pair(tmp_path: Path) -> None:
    """The same picture on either side of a threshold."""
    make_shelf(tmp_path, "1.0.0")
    points = [{"name": "balanced", "threshold": 0.99, "sensitivity": 0.5, "specificity": 1.0}]
    make_version(tmp_path, "2.0.0", operating_points=points)
    async with running(shadowed(tmp_path), build_engine) as service:
        await in_force(service)
        await service.client.post("/v1/predict", content=make_png(205))
        await service.client.post("/v1/predict", content=make_png(150))
        await settled(service, 2)
        page = (await service.client.get("/metrics")).text
    [report] = read_reports(page)
    assert report.pairs == {("positive", "positive"): 1, ("positive", "refer"): 1}


async def test_every_route_is_shadowed(tmp_path: Path) -> None:
    """Explanations and the inference protocol, too; not what a named other version answered."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    pixels = {"name": "image", "shape": [1, 1, 32, 32], "datatype": "UINT8", "data": [140] * 1024}
    build = FakeExplainer(shift=0.0)
    build.tolerance = type(build.tolerance)(1e9, 1e9)  # type: ignore[misc]
    async with running(shadowed(tmp_path), build_engine, build.build) as service:
        await in_force(service)
        await service.client.post("/v1/explain", content=make_flat_png(140))
        await service.client.post("/v2/models/resnet18/infer", json={"inputs": [pixels]})
        await settled(service, 2)
        await answer_of(service, "resnet18@2.0.0")
        await asyncio.sleep(0.05)
        assert await compared(service) == 2


async def test_a_stuck_shadow_holds_up_nobody(tmp_path: Path) -> None:
    """Its few places fill, what more comes is dropped, and answers come as ever."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    stuck = FakeEngine(runs_on_cores=True, slope=slope_of("2.0.0"))
    settings = shadowed(tmp_path, shadow_queue_capacity=3, models="resnet18")
    async with running(settings, engines(v2=stuck)) as service:
        await in_force(service)
        stuck.gate.clear()
        for _ in range(20):
            assert (await answer_of(service))[0] == "1.0.0"
        assert service.runtime.shadows.depth <= 3
        busy = await told(service, 'cxr_shadow_dropped_total{model="resnet18",reason="busy"')
        assert sum(busy.values()) >= 16
        stuck.gate.set()


async def test_shadow_waits_while_others_want_the_cores(tmp_path: Path) -> None:
    """It begins nothing while a job waits for a core."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    shadow = FakeEngine(runs_on_cores=True, slope=slope_of("2.0.0"))
    async with running(shadowed(tmp_path, workers=1), engines(v2=shadow)) as service:
        await in_force(service)
        shadow.forget()
        shadow.gate.clear()
        for _ in range(2):
            await answer_of(service)
        await until(lambda: service.runtime.shadows.depth == 1)  # the other one is being run
        await until(lambda: shadow.entered.acquire(blocking=False))
        gate, pool = threading.Event(), service.runtime.pool
        held = [pool.submit(gate.wait), pool.submit(gate.wait)]
        await until(lambda: pool.waiting == 1)
        shadow.gate.set()
        await settled(service, 1)
        await asyncio.sleep(0.1)
        assert shadow.batches == [1]
        gate.set()
        await settled(service, 2)
        assert shadow.batches == [1, 1]
        assert all(one.done() for one in held)


@pytest.mark.parametrize("fault", ["raises", "nan"])
async def test_a_failing_shadow_harms_nobody(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, and logged once."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    shadow = FakeEngine(runs_on_cores=True, slope=slope_of("2.0.0"))
    async with running(shadowed(tmp_path), engines(v2=shadow)) as service:
        await in_force(service)
        shadow.fails, shadow.poisoned = fault == "raises", True
        for _ in range(3):
            response = await service.client.post("/v1/predict", content=make_flat_png(7))
            assert response.json()["model"]["version"] == "1.0.0"
        await settled(service, 3)
        failed = await told(service, 'cxr_shadow_dropped_total{model="resnet18",reason="failed"')
        assert sum(failed.values()) == 3
    assert len([one for one in caplog.records if one.getMessage() == "shadow failed"]) == 1


async def test_missing_shadow_is_told_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The service starts without it; watched, it is loaded when it comes, and only stands by."""
    make_shelf(tmp_path, "1.0.0")
    settings = shadowed(tmp_path, watch_bundles_s=0.01)
    async with running(settings, build_engine) as service:
        await until(lambda: "shadow not loaded" in caplog.text)
        make_shelf(tmp_path, "2.0.0")
        await until(lambda: len(service.runtime.loaded_models) == 2)
        assert await states_of(service) == {"1.0.0": "active", "2.0.0": "standby"}
        verify_problem(await change(service, "unload", "2.0.0"), 409, "version-in-use")
        await answer_of(service)
        await settled(service, 1)
        assert await compared(service) == 1


async def test_shadow_of_another_input_is_told(tmp_path: Path) -> None:
    """It cannot answer what was prepared for the other one."""
    make_shelf(tmp_path, "1.0.0")
    make_version(tmp_path, "2.0.0", preprocessing={"size_px": 32, "min_side_px": 80})
    async with running(shadowed(tmp_path), build_engine) as service:
        await in_force(service)
        await answer_of(service)
        await settled(service, 1)
        [line] = await told(service, "cxr_shadow_dropped_total{")
        assert "other-input" in line


def test_report_needs_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read ends with a line; a page without shadows says how to begin one."""
    assert main(["shadow", "--metrics", str(tmp_path / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert main(["shadow", "--url", "http://127.0.0.1:9"]) == 1
    assert "does not answer" in capsys.readouterr().err
    (tmp_path / "page").write_text("")
    assert main(["shadow", "--metrics", str(tmp_path / "page")]) == 0
    assert "CXR_SHADOW" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["resnet18", "resnet18@2", "@1.0.0", "a@1.0.0,,b@1.0.0"])
def test_shadow_names_a_version(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A name alone would shadow the version in force with itself."""
    monkeypatch.setenv("CXR_SHADOW", text)
    with pytest.raises(Exception, match="CXR_SHADOW"):
        load_settings()
