"""Versions loaded, switched, rolled back and unloaded over HTTP."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cxr.bundles.bundle import Bundle
from cxr.errors import BundleError
from service.engines.protocol import Engine
from service.engines.registry import build_engine
from service.errors import StartupError
from service.models.loading import Loader, load_model
from service.models.memory import free_memory_bytes
from service.settings import Settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import load_of, running, until
from tests.service.make_bundle import make_bundle, make_version
from tests.service.test_problems import verify_problem
from tests.service.version_tools import (
    IMAGE,
    answer_of,
    change,
    control_settings,
    make_shelf,
    probability_in,
    states_of,
)

pytestmark = pytest.mark.anyio


@dataclass
class Workshop:
    """Makes real engines, and remembers which; an engine can be made to wait.

    Attributes:
        made: Versions in the order their engines were made.
        engines: Weak references to them, by version.
        fakes: Versions that get a fake engine, which can be held up.
    """

    made: list[str] = field(default_factory=list)
    engines: dict[str, weakref.ref[Any]] = field(default_factory=dict)
    fakes: dict[str, FakeEngine] = field(default_factory=dict)

    def build(self, bundle: Bundle, settings: Settings) -> Engine:
        """Stand in for an engine builder."""
        version = bundle.manifest.version
        self.made.append(version)
        if version in self.fakes:
            return self.fakes[version].build(bundle, settings)
        engine = build_engine(bundle, settings)
        self.engines[version] = weakref.ref(engine)
        return engine


async def test_newest_version_answers_and_others_are_listed(tmp_path: Path) -> None:
    """Numbers are compared as numbers: 1.10.0 is newer than 1.9.0."""
    make_shelf(tmp_path, "1.9.0", "1.10.0")
    async with running(control_settings(tmp_path), build_engine) as service:
        assert await answer_of(service) == ("1.10.0", pytest.approx(probability_in("1.10.0")))
        assert await states_of(service) == {"1.9.0": "available", "1.10.0": "active"}


async def test_load_switches_and_keeps_the_former_on_standby(tmp_path: Path) -> None:
    """The version that answered is named by requests that want it; a rollback loads nothing."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    workshop = Workshop()
    settings = control_settings(tmp_path, models="resnet18")
    async with running(settings, workshop.build) as service:
        assert (await change(service, "load", "1.0.0")).json()["active"] == "1.0.0"
        assert await answer_of(service) == ("1.0.0", pytest.approx(probability_in("1.0.0")))
        old = await answer_of(service, "resnet18@2.0.0")
        assert old == ("2.0.0", pytest.approx(probability_in("2.0.0")))
        assert await states_of(service) == {"1.0.0": "active", "2.0.0": "standby"}
        assert (await change(service, "rollback")).json()["active"] == "2.0.0"
        assert (await answer_of(service))[0] == "2.0.0"
        assert workshop.made == ["2.0.0", "1.0.0"]


async def test_repeats_change_nothing(tmp_path: Path) -> None:
    """A client that lost an answer may ask again."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    workshop = Workshop()
    async with running(control_settings(tmp_path), workshop.build) as service:
        for verb, version in (("load", "1.0.0"), ("rollback", "2.0.0"), ("unload", "1.0.0")):
            first = await change(service, verb, version)
            again = await change(service, verb, version)
            assert first.status_code == again.status_code == 200
            assert first.json() == again.json()
        assert workshop.made == ["2.0.0", "1.0.0"]


async def test_newest_is_loaded_where_none_is_named(tmp_path: Path, tmp_path_factory: Any) -> None:
    """A body may be left out."""
    make_shelf(tmp_path, "1.0.0")
    async with running(control_settings(tmp_path), build_engine) as service:
        make_shelf(tmp_path, "1.1.0", "1.0.5")
        response = await service.client.post("/v1/models/resnet18:load")
        assert response.json()["active"] == "1.1.0"


async def test_standby_only_does_not_switch(tmp_path: Path) -> None:
    """A version can be tried by name before it answers for all."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    settings = control_settings(tmp_path, models="resnet18@1.0.0")
    async with running(settings, build_engine) as service:
        assert (await answer_of(service))[0] == "1.0.0"
    settings = control_settings(tmp_path)
    async with running(settings, build_engine) as service:
        await change(service, "load", "1.0.0", activate=False)
        assert (await answer_of(service))[0] == "2.0.0"
        assert (await answer_of(service, "resnet18@1.0.0"))[0] == "1.0.0"


async def test_loads_of_one_version_at_a_time_are_one(tmp_path: Path) -> None:
    """Ten who ask at once get one load, and all the same answer."""
    make_shelf(tmp_path, "1.0.0")
    workshop = Workshop()
    async with running(control_settings(tmp_path), workshop.build) as service:
        make_shelf(tmp_path, "2.0.0")
        changes = await asyncio.gather(*(change(service, "load", "2.0.0") for _ in range(10)))
        assert {one.json()["active"] for one in changes} == {"2.0.0"}
        assert workshop.made == ["1.0.0", "2.0.0"]


async def test_requests_finish_on_the_version_they_began_on(tmp_path: Path) -> None:
    """A switch and an unload in the middle of a request change nothing for it."""
    make_shelf(tmp_path, "1.0.0")
    held = FakeEngine(runs_on_cores=True)
    workshop = Workshop(fakes={"1.0.0": held})
    settings = control_settings(tmp_path, standby_versions=0, workers=2)
    async with running(settings, workshop.build) as service:
        held.gate.clear()
        begun = asyncio.create_task(answer_of(service))
        await until(lambda: load_of(service).images == 1)
        make_shelf(tmp_path, "2.0.0")
        await change(service, "load", "2.0.0")
        assert await answer_of(service) == ("2.0.0", pytest.approx(probability_in("2.0.0")))
        assert await states_of(service) == {"1.0.0": "unloading", "2.0.0": "active"}
        refused = await service.client.post(
            "/v1/predict", content=IMAGE, params={"model": "resnet18@1.0.0"}
        )
        verify_problem(refused, 404, "unknown-model")
        held.gate.set()
        assert await begun == ("1.0.0", pytest.approx(probability_in("1.0.0")))
        await until(lambda: len(service.runtime.loaded_models) == 1)
        assert await states_of(service) == {"1.0.0": "available", "2.0.0": "active"}


async def test_unload_waits_for_requests(tmp_path: Path) -> None:
    """It is answered when the version is gone, and an answer under way is given."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    held = FakeEngine(runs_on_cores=True)
    workshop = Workshop(fakes={"1.0.0": held})
    async with running(control_settings(tmp_path, workers=2), workshop.build) as service:
        await change(service, "load", "1.0.0", activate=False)
        held.gate.clear()
        begun = asyncio.create_task(answer_of(service, "resnet18@1.0.0"))
        await until(lambda: load_of(service, "resnet18@1.0.0").images == 1)
        unloading = asyncio.create_task(change(service, "unload", "1.0.0"))
        await asyncio.sleep(0.05)
        assert not unloading.done()
        held.gate.set()
        assert (await begun)[0] == "1.0.0"
        assert (await unloading).status_code == 200


async def test_unloaded_engine_is_gone(tmp_path: Path) -> None:
    """Nothing keeps it: the memory is there again without the collector's help."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    workshop = Workshop()
    async with running(control_settings(tmp_path), workshop.build) as service:
        await answer_of(service)
        await change(service, "load", "1.0.0")
        gc.disable()
        try:
            assert (await change(service, "unload", "2.0.0")).status_code == 200
            await until(lambda: workshop.engines["2.0.0"]() is None)
        finally:
            gc.enable()


@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_as_many_former_versions_stay_as_wanted(tmp_path: Path, kept: int) -> None:
    """The latest ones; the others are unloaded, and a rollback to them loads again."""
    make_shelf(tmp_path, "1.0.0", "2.0.0", "3.0.0", "4.0.0")
    settings = control_settings(tmp_path, models="resnet18", standby_versions=kept)
    async with running(settings, build_engine) as service:
        for version in ("1.0.0", "2.0.0", "3.0.0"):
            await change(service, "load", version)
        await until(lambda: len(service.runtime.loaded_models) == kept + 1)
        former = sorted(v for v, state in (await states_of(service)).items() if state == "standby")
        assert former == ["1.0.0", "2.0.0"][2 - kept :]
        assert (await change(service, "rollback", "4.0.0")).json()["active"] == "4.0.0"
        assert (await answer_of(service))[0] == "4.0.0"


async def test_former_versions_leave_where_memory_is_short(tmp_path: Path) -> None:
    """What is kept for a rollback must not cost the service its memory."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    settings = control_settings(tmp_path, standby_free_bytes=1 << 60)
    async with running(settings, build_engine) as service:
        await change(service, "load", "1.0.0")
        await until(lambda: len(service.runtime.loaded_models) == 1)
        assert (await states_of(service))["2.0.0"] == "available"


def test_memory_left_is_that_of_the_container(tmp_path: Path) -> None:
    """The limit of the control group counts, less what is used; files read once are no use."""
    for name, text in (
        ("memory.max", "1000"),
        ("memory.current", "700"),
        ("memory.stat", "anon 300\ninactive_file 400\n"),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 2 kB\n")
    assert free_memory_bytes(tmp_path, tmp_path / "meminfo") == 700
    (tmp_path / "memory.max").write_text("max")
    assert free_memory_bytes(tmp_path, tmp_path / "meminfo") == 2048
    assert free_memory_bytes(tmp_path / "no", tmp_path / "no") is None


PROBLEMS = {
    "unknown model": ("/v1/models/zz:load", {}, 404, "unknown-model"),
    "unknown version": ("/v1/models/resnet18:load", {"version": "9.0.0"}, 404, "unknown-model"),
    "broken": ("/v1/models/resnet18:load", {"version": "3.0.0"}, 409, "broken-bundle"),
    "broken newest": ("/v1/models/resnet18:load", {}, 409, "broken-bundle"),
    "in use": ("/v1/models/resnet18:unload", {"version": "2.0.0"}, 409, "version-in-use"),
    "last one": ("/v1/models/resnet18:unload", {}, 409, "last-model"),
    "nothing before": ("/v1/models/resnet18:rollback", {}, 409, "no-former-version"),
    "unknown member": ("/v1/models/resnet18:load", {"number": "1"}, 400, "invalid-request"),
    "long body": ("/v1/models/resnet18:load", {"version": "1" * 9999}, 413, "payload-too-large"),
    "query": ("/v1/models/resnet18:load?version=1.0.0", {}, 400, "invalid-request"),
}


@pytest.mark.parametrize("case", PROBLEMS.values(), ids=PROBLEMS.keys())
async def test_impossible_changes_are_told_and_change_nothing(
    tmp_path: Path, case: tuple[str, dict[str, str], int, str]
) -> None:
    """Status and type say what to do; the version that answered answers."""
    path, body, status, slug = case
    make_shelf(tmp_path, "1.0.0", "2.0.0", "3.0.0")
    (tmp_path / "resnet18/3.0.0/model.onnx").write_bytes(b"cut")
    async with running(control_settings(tmp_path), build_engine) as service:
        before = await answer_of(service), await states_of(service)
        problem = verify_problem(await service.client.post(path, json=body), status, slug)
        assert str(tmp_path) not in problem["detail"]
        assert (await answer_of(service), await states_of(service)) == before


async def test_default_model_is_not_unloaded_but_another_is(tmp_path: Path) -> None:
    """Whole models come and go, except the one that answers requests that name none."""
    make_shelf(tmp_path, "1.0.0")
    make_shelf(tmp_path, "1.0.0", name="cnn")
    async with running(control_settings(tmp_path), build_engine) as service:
        verify_problem(await change(service, "unload"), 409, "version-in-use")
        for _ in range(2):
            gone = await service.client.post("/v1/models/cnn:unload")
            assert (gone.status_code, gone.json()["active"]) == (200, None)
        response = await service.client.post("/v1/predict?model=cnn", content=IMAGE)
        verify_problem(response, 404, "unknown-model")
        assert (await service.client.post("/v1/models/cnn:load")).json()["active"] == "1.0.0"
        assert (await answer_of(service, "cnn"))[0] == "1.0.0"


async def test_control_has_to_be_turned_on(tmp_path: Path) -> None:
    """Without it the routes change nothing and say who can allow it."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    async with running(control_settings(tmp_path, model_control="off"), build_engine) as service:
        for verb in ("load", "unload", "rollback"):
            response = await change(service, verb, "1.0.0")
            verify_problem(response, 501, "model-control-disabled")


async def test_start_falls_back_to_the_newest_good_version(tmp_path: Path) -> None:
    """A broken bundle does not keep a service from coming back."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    (tmp_path / "resnet18/2.0.0/model.onnx").write_bytes(b"cut")
    async with running(control_settings(tmp_path), build_engine) as service:
        assert (await answer_of(service))[0] == "1.0.0"
        listed = (await service.client.get("/v1/models")).json()["versions"]
        [failed] = [one for one in listed if one["state"] == "failed"]
        assert (failed["version"], failed["folder"]) == ("2.0.0", "resnet18/2.0.0")
        assert "model.onnx" in failed["reason"]
        assert str(tmp_path) not in failed["reason"]


async def test_pinned_version_must_be_there(tmp_path: Path) -> None:
    """A pin that cannot be kept ends the start."""
    make_shelf(tmp_path, "1.0.0")
    settings = control_settings(tmp_path, models="resnet18@2.0.0")
    with pytest.raises(AssertionError) as caught:
        async with running(settings, build_engine):
            pass
    assert isinstance(caught.value.args[0], StartupError)


async def test_flat_bundles_are_versions_too(tmp_path: Path) -> None:
    """A folder may hold the bundle itself; the manifest says what it is."""
    make_bundle(tmp_path)
    make_bundle(tmp_path, "resnet18-next", name="resnet18", version="1.1.0")
    make_version(tmp_path, "0.9.0", "cnn")
    async with running(control_settings(tmp_path), build_engine) as service:
        models = (await service.client.get("/v1/models")).json()["models"]
        assert [(one["name"], one["version"]) for one in models] == [
            ("cnn", "0.9.0"),
            ("resnet18", "1.1.0"),
        ]


async def test_deleted_bundle_goes_on_answering(tmp_path: Path) -> None:
    """What is loaded needs no files; a rollback to what is gone is refused."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    async with running(control_settings(tmp_path, standby_versions=0), build_engine) as service:
        await change(service, "load", "1.0.0")
        await until(lambda: len(service.runtime.loaded_models) == 1)
        shutil.rmtree(tmp_path / "resnet18")
        assert (await change(service, "load", "1.0.0")).status_code == 200
        assert (await answer_of(service))[0] == "1.0.0"
        verify_problem(await change(service, "rollback", "2.0.0"), 404, "unknown-model")
        assert await states_of(service) == {"1.0.0": "active"}


async def test_one_version_twice_is_refused(tmp_path: Path) -> None:
    """A name and a number mean one bundle, for as long as the service runs."""
    make_shelf(tmp_path, "1.0.0")
    async with running(control_settings(tmp_path), build_engine) as service:
        make_bundle(tmp_path, "other", name="resnet18", version="1.0.0")
        await change(service, "load", "1.0.0")
        listed = (await service.client.get("/v1/models")).json()["versions"]
        assert {one["folder"]: one["state"] for one in listed} == {
            "other": "failed",
            "resnet18/1.0.0": "active",
        }
        verify_problem(await change(service, "load", "other"), 409, "broken-bundle")


async def test_protocol_names_versions(tmp_path: Path) -> None:
    """/v2 has versions in its paths, its metadata and its index."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    pixels = {"name": "image", "shape": [1, 1, 32, 32], "datatype": "UINT8", "data": [140] * 1024}
    async with running(control_settings(tmp_path), build_engine) as service:
        post, get = service.client.post, service.client.get
        url = "/v2/models/resnet18"
        assert (await get(f"{url}/versions/1.0.0/ready")).status_code == 404
        await change(service, "load", "1.0.0", activate=False)
        assert (await get(url)).json()["versions"] == ["1.0.0", "2.0.0"]
        index = (await post("/v2/repository/index")).json()
        assert {(one["version"], one["state"]) for one in index} == {
            ("1.0.0", "READY"),
            ("2.0.0", "READY"),
        }
        for path, version in ((url, "2.0.0"), (f"{url}/versions/1.0.0", "1.0.0")):
            answer = (await post(f"{path}/infer", json={"inputs": [pixels]})).json()
            assert answer["model_version"] == version
            [probability] = [o["data"][0] for o in answer["outputs"] if o["name"] == "probability"]
            assert probability == pytest.approx(probability_in(version), abs=1e-5)


async def test_metrics_tell_versions_and_stay_well_formed(tmp_path: Path) -> None:
    """Two versions of a model give one depth, two bundles, and a state each."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    async with running(control_settings(tmp_path), build_engine) as service:
        await change(service, "load", "1.0.0")
        text = (await service.client.get("/metrics")).text
        lines = [line.rpartition(" ")[0] for line in text.splitlines() if line[:1] != "#"]
        assert len(set(lines)) == len(lines)
        assert 'cxr_model_version{model="resnet18",state="active",version="1.0.0"}' in text
        assert 'cxr_model_version{model="resnet18",state="standby",version="2.0.0"}' in text
        assert text.count("cxr_bundle_info{") == 2


def test_bundle_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """What is loaded is what was looked at: a number must not become another model."""
    path = make_version(tmp_path, "1.0.0")
    loader = Loader(control_settings(tmp_path), partial(load_model, build_engine=build_engine))
    [found] = loader.look()
    shutil.rmtree(path)
    make_bundle(tmp_path, "resnet18/1.0.0", name="resnet18", version="2.0.0")
    with pytest.raises(BundleError, match="changed while"):
        loader.load(found)


async def test_a_new_version_is_admitted_as_the_old_one_was(tmp_path: Path) -> None:
    """Until an image of its own was measured it counts what the other one's cost."""
    make_shelf(tmp_path, "1.0.0", "2.0.0")
    async with running(control_settings(tmp_path), build_engine) as service:
        await answer_of(service)
        known_s = load_of(service).core_item.value
        await change(service, "load", "1.0.0")
        assert load_of(service).core_item.value == known_s > 0
