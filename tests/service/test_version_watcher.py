"""Versions that appear, change and vanish in the folder of bundles."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.engines.registry import build_engine
from service.models.watcher import Watcher
from tests.service.harness import Running, running, until
from tests.service.make_bundle import make_bundle, make_version
from tests.service.version_tools import (
    answer_of,
    change,
    control_settings,
    drop_version,
    make_shelf,
    probability_in,
    states_of,
)

pytestmark = pytest.mark.anyio


async def watching(service: Running) -> Watcher:
    """Give a watcher that looks only when told."""
    watcher = Watcher(service.runtime.deployment, service.runtime.models, 3600)
    await watcher.begin()
    return watcher


def unusable(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Give the log lines that tell of broken bundles."""
    return [one for one in caplog.records if one.getMessage() == "bundle not usable"]


async def test_version_that_appears_takes_over(tmp_path: Path) -> None:
    """By itself, for whoever watches."""
    make_shelf(tmp_path / "shelf", "1.0.0")
    settings = control_settings(tmp_path / "shelf", watch_bundles_s=0.01)
    async with running(settings, build_engine) as service:
        await asyncio.sleep(0.05)
        drop_version(tmp_path / "shelf", "1.1.0", tmp_path / "made")
        await until(lambda: service.runtime.models.get(None).manifest.version == "1.1.0")
        assert await answer_of(service) == ("1.1.0", pytest.approx(probability_in("1.1.0")))
        assert (await states_of(service))["1.0.0"] == "standby"


async def test_nothing_is_loaded_that_nobody_waits_for(tmp_path: Path) -> None:
    """Older versions, and those that were there at the start, stay where they are."""
    make_shelf(tmp_path / "shelf", "2.0.0", "1.0.0")
    async with running(control_settings(tmp_path / "shelf"), build_engine) as service:
        watcher = await watching(service)
        drop_version(tmp_path / "shelf", "1.5.0", tmp_path / "made")
        await watcher.look()
        assert await states_of(service) == {
            "1.0.0": "available",
            "1.5.0": "available",
            "2.0.0": "active",
        }


async def test_rollback_holds(tmp_path: Path) -> None:
    """What was rolled back from is not switched in again, whatever happens to its files."""
    make_shelf(tmp_path / "shelf", "1.0.0", "2.0.0")
    settings = control_settings(tmp_path / "shelf", standby_versions=0)
    async with running(settings, build_engine) as service:
        watcher = await watching(service)
        await change(service, "rollback", "1.0.0")
        await until(lambda: len(service.runtime.loaded_models) == 1)
        (tmp_path / "shelf/resnet18").rename(tmp_path / "away")
        await watcher.look()
        shutil.copytree(tmp_path / "away", tmp_path / "shelf/resnet18")
        await watcher.look()
        assert await states_of(service) == {"1.0.0": "active", "2.0.0": "available"}
        drop_version(tmp_path / "shelf", "2.0.1", tmp_path / "made")
        await watcher.look()
        assert (await answer_of(service))[0] == "2.0.1"


@pytest.mark.parametrize("first", ["manifest.json", "model.onnx"])
async def test_half_copied_version_waits_for_its_other_half(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    """It is no error while files still come, in whichever order; then it takes over."""
    make_shelf(tmp_path / "shelf", "1.0.0")
    made = make_version(tmp_path / "made", "2.0.0")
    files = sorted((p for p in made.rglob("*") if p.is_file()), key=lambda p: p.name != first)
    async with running(control_settings(tmp_path / "shelf"), build_engine) as service:
        watcher = await watching(service)
        for file in files:
            target = tmp_path / "shelf/resnet18/2.0.0" / file.relative_to(made)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            await watcher.look()
            assert (await answer_of(service))[0] == "1.0.0"
            shutil.copyfile(file, target)
            await watcher.look()
        assert await answer_of(service) == ("2.0.0", pytest.approx(probability_in("2.0.0")))
    assert not unusable(caplog)


async def test_broken_bundle_is_told_once_and_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The service goes on, the log has a line, the list has the reason; a repair is noticed."""
    make_shelf(tmp_path / "shelf", "1.0.0")
    async with running(control_settings(tmp_path / "shelf"), build_engine) as service:
        watcher = await watching(service)
        path = drop_version(tmp_path / "shelf", "2.0.0", tmp_path / "made")
        good = (path / "model.onnx").read_bytes()
        (path / "model.onnx").write_bytes(b"junk")
        for _ in range(5):
            await watcher.look()
        assert len(unusable(caplog)) == 1
        listed = (await service.client.get("/v1/models")).json()["versions"]
        [broken] = [one for one in listed if one["version"] == "2.0.0"]
        assert (broken["state"], "model.onnx" in broken["reason"]) == ("failed", True)
        assert (await answer_of(service))[0] == "1.0.0"
        assert (await service.client.get("/health/ready")).status_code == 200
        (path / "model.onnx").write_bytes(good)
        await watcher.look()
        assert (await answer_of(service))[0] == "2.0.0"


async def test_unreadable_manifest_is_told_and_harmless(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No version can be read from it: its folder stands for it."""
    make_shelf(tmp_path, "1.0.0")
    async with running(control_settings(tmp_path), build_engine) as service:
        watcher = await watching(service)
        (tmp_path / "resnet18/next").mkdir()
        (tmp_path / "resnet18/next/manifest.json").write_text("{")
        for _ in range(3):
            await watcher.look()
        assert (await states_of(service))["resnet18/next"] == "failed"
        assert len(unusable(caplog)) == 1
        shutil.rmtree(tmp_path / "resnet18/next")
        await watcher.look()
        assert await states_of(service) == {"1.0.0": "active"}


async def test_deleted_and_overwritten_bundles_go_on_answering(tmp_path: Path) -> None:
    """What is loaded needs no files, and the same number does not become another model."""
    make_shelf(tmp_path / "shelf", "1.0.0")
    async with running(control_settings(tmp_path / "shelf"), build_engine) as service:
        watcher = await watching(service)
        shutil.rmtree(tmp_path / "shelf/resnet18")
        await watcher.look()
        assert (await answer_of(service))[0] == "1.0.0"
        make_bundle(tmp_path / "shelf", slope=1.0, name="resnet18", version="1.0.0")
        await watcher.look()
        assert await answer_of(service) == ("1.0.0", pytest.approx(probability_in("1.0.0")))
        shutil.rmtree(tmp_path / "shelf")
        await watcher.look()
        assert (await answer_of(service))[0] == "1.0.0"


async def test_new_model_is_served_beside_the_others(tmp_path: Path) -> None:
    """Another name is another model; the default stays."""
    make_shelf(tmp_path / "shelf", "1.0.0")
    async with running(control_settings(tmp_path / "shelf"), build_engine) as service:
        watcher = await watching(service)
        drop = make_version(tmp_path / "made", "1.0.0", "cnn")
        shutil.copytree(drop, tmp_path / "shelf/cnn/1.0.0")
        await watcher.look()
        assert (await answer_of(service, "cnn"))[0] == "1.0.0"
        listed = (await service.client.get("/v1/models")).json()["models"]
        assert {one["name"]: one["default"] for one in listed} == {"cnn": False, "resnet18": True}


async def test_pinned_model_is_left_alone(tmp_path: Path) -> None:
    """CXR_MODELS=name@version holds it, whatever appears."""
    make_shelf(tmp_path / "shelf", "1.0.0")
    settings = control_settings(tmp_path / "shelf", models="resnet18@1.0.0")
    async with running(settings, build_engine) as service:
        watcher = await watching(service)
        drop_version(tmp_path / "shelf", "2.0.0", tmp_path / "made")
        await watcher.look()
        assert await states_of(service) == {"1.0.0": "active"}


async def test_links_of_a_kubernetes_volume_are_followed(tmp_path: Path) -> None:
    """The kubelet writes beside and then turns one link: everything changes at once."""
    volume = tmp_path / "volume"
    make_shelf(volume / "..1", "1.0.0")
    os.symlink("..1", volume / "..data")
    os.symlink("..data/resnet18", volume / "resnet18")
    async with running(control_settings(volume), build_engine) as service:
        watcher = await watching(service)
        make_shelf(volume / "..2", "1.0.0", "1.1.0")
        await watcher.look()
        assert await states_of(service) == {"1.0.0": "active"}
        os.symlink("..2", volume / "..next")
        (volume / "..next").rename(volume / "..data")
        shutil.rmtree(volume / "..1")
        await watcher.look()
        assert await answer_of(service) == ("1.1.0", pytest.approx(probability_in("1.1.0")))
        assert await states_of(service) == {"1.0.0": "standby", "1.1.0": "active"}


async def test_bundle_that_is_itself_a_volume_is_read(tmp_path: Path) -> None:
    """Its files are links into a hidden folder beside them."""
    made = make_version(tmp_path / "made", "1.0.0")
    bundle = tmp_path / "shelf/resnet18"
    shutil.copytree(made, bundle / "..1")
    os.symlink("..1", bundle / "..data")
    for entry in made.iterdir():
        os.symlink(f"..data/{entry.name}", bundle / entry.name)
    async with running(control_settings(tmp_path / "shelf"), build_engine) as service:
        assert (await answer_of(service))[0] == "1.0.0"


async def test_looking_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is away for a moment is no end."""
    caplog.set_level(logging.ERROR)
    make_shelf(tmp_path / "shelf", "1.0.0")
    settings = control_settings(tmp_path / "shelf", watch_bundles_s=0.01)
    async with running(settings, build_engine) as service:
        control = service.runtime.deployment
        look, failures = control.look, iter(range(3))

        async def fail() -> Any:
            if next(failures, None) is not None:
                raise OSError("gone")
            return await look()

        monkeypatch.setattr(control, "look", fail)
        await until(lambda: next(failures, None) is None)
        drop_version(tmp_path / "shelf", "1.1.0", tmp_path / "made")
        await until(lambda: service.runtime.models.get(None).manifest.version == "1.1.0")
