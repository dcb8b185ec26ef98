"""Versions of a model for tests: each answers otherwise, so a mixed answer is visible."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

from service.settings import Settings
from tests.service.conftest import make_settings
from tests.service.harness import Running
from tests.service.make_bundle import make_version, slope_of
from tests.service.make_images import make_flat_png

GREY = 140
IMAGE = make_flat_png(GREY)


def probability_in(version: str, grey: int = GREY) -> float:
    """Give what a version answers for an image of one grey level."""
    return 1.0 / (1.0 + math.exp(-2.0 * (grey - 128.0) * slope_of(version)))


def make_shelf(root: Path, *versions: str, name: str = "resnet18") -> Path:
    """Write versions of a model, and give the folder of bundles."""
    for version in versions:
        make_version(root, version, name)
    return root


def control_settings(root: Path, **changes: Any) -> Settings:
    """Make settings with which versions can be changed."""
    return make_settings(root, **{"models": "", "model_control": "on"} | changes)


def drop_version(root: Path, version: str, source: Path, name: str = "resnet18") -> Path:
    """Make a version appear as a careful operator does: copied beside, then renamed."""
    made = make_version(source, version, name)
    beside = root / name / f".{version}.copy"
    shutil.copytree(made, beside)
    return beside.rename(root / name / version)


async def change(service: Running, verb: str, version: str | None = None, **more: Any) -> Any:
    """Ask for a change, and give the response."""
    body = more | ({} if version is None else {"version": version})
    return await service.client.post(f"/v1/models/resnet18:{verb}", json=body)


async def answer_of(service: Running, model: str | None = None) -> tuple[str, float]:
    """Have an image read, and give version and probability."""
    query = {} if model is None else {"model": model}
    response = await service.client.post("/v1/predict", content=IMAGE, params=query)
    assert response.status_code == 200, response.text
    answer = response.json()
    return answer["model"]["version"], answer["results"][0]["probability"]


async def states_of(service: Running) -> dict[str, str]:
    """Give the states by version, of one model."""
    listed = (await service.client.get("/v1/models")).json()["versions"]
    return {one["version"] or one["folder"]: one["state"] for one in listed}
