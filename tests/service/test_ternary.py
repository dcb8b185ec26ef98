"""A model of three classes: what is decided is whether there is pneumonia of either kind."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from cxr.bundles.manifest import task_section
from cxr.data.labels import ETIOLOGY, TERNARY, Task
from service.engines.registry import build_engine
from service.http.formats.fhir import FHIR
from service.multipart import DICOM
from tests.service.conftest import make_settings
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, running
from tests.service.make_bundle import make_bundle
from tests.service.make_images import make_dicom, make_png

pytestmark = pytest.mark.anyio

COLUMNS = (-1.0, 0.5, 0.8)
"""Bright pictures are viral rather than bacterial, dark ones normal."""

PREDICT, EXPLAIN = "/v1/predict", "/v1/explain"


def make_task_bundle(root: Path, task: Task, columns: tuple[float, ...]) -> Path:
    """Make the bundle of a task."""
    referral = {"coverage": 0.9, "least_probability": dict.fromkeys(task.classes, 0.2)}
    return make_bundle(
        root,
        columns=columns,
        task=task_section(task).model_dump(),
        tensors={"embedding_size": len(columns)},
        referral=referral | {"figures": []},
    )


@pytest.fixture
async def ternary(tmp_path: Path) -> AsyncIterator[Running]:
    """The application with a model of three classes."""
    make_task_bundle(tmp_path, TERNARY, COLUMNS)
    explainer = FakeExplainer(columns=COLUMNS)
    async with running(make_settings(tmp_path), build_engine, explainer.build) as ready:
        yield ready


async def ask(service: Running, path: str, grey: int, **query: str) -> dict[str, Any]:
    """Give the one result for a picture of one grey level."""
    response = await service.client.post(path, content=make_png(grey), params=query)
    assert response.status_code == 200, response.text
    [result] = response.json()["results"]
    return result


async def test_decision_is_pneumonia_or_not(ternary: Running) -> None:
    """Neither kind reaches the threshold alone; together they do. A label is a kind."""
    result = await ask(ternary, PREDICT, 122)
    assert list(result["probabilities"]) == ["NORMAL", "BACTERIAL", "VIRAL"]
    kinds = result["probabilities"]["BACTERIAL"] + result["probabilities"]["VIRAL"]
    threshold = result["operating_point"]["threshold"]
    assert max(result["probabilities"]["BACTERIAL"], result["probabilities"]["VIRAL"]) < threshold
    assert result["probability"] == pytest.approx(kinds)
    assert kinds >= threshold
    assert (result["finding"], result["decision"], result["label"]) == ("PNEUMONIA", "refer", None)
    dark, bright = await ask(ternary, PREDICT, 20), await ask(ternary, PREDICT, 230)
    assert (dark["label"], dark["decision"]) == ("NORMAL", "negative")
    assert (bright["label"], bright["decision"]) == ("VIRAL", "positive")


async def test_kinds_that_cannot_be_told_apart_are_still_pneumonia(ternary: Running) -> None:
    """A prediction set of both kinds agrees with the finding; one with normal does not."""
    both = await ask(ternary, PREDICT, 150)
    assert both["uncertainty"]["prediction_set"] == ["BACTERIAL", "VIRAL"]
    assert both["decision"] == "positive"
    all_three = await ask(ternary, PREDICT, 128)
    assert (all_three["decision"], all_three["label"]) == ("refer", None)


async def test_the_likeliest_kind_is_explained(ternary: Running) -> None:
    """Without a target, and with the finding as one, the heatmap is of the likeliest kind."""
    for query in ({}, {"target": "PNEUMONIA"}):
        result = await ask(ternary, EXPLAIN, 230, **query)
        assert result["explanation"]["target"] == "VIRAL"
    assert (await ask(ternary, EXPLAIN, 230, target="NORMAL"))["explanation"]["target"] == "NORMAL"
    refused = await ternary.client.post(EXPLAIN, content=make_png(9), params={"target": "FLU"})
    assert refused.status_code == 400


async def test_model_says_what_makes_up_its_finding(ternary: Running) -> None:
    """A client can tell the finding from its classes."""
    model = (await ternary.client.get("/v1/models/resnet18")).json()
    assert model["positive_class"] == "PNEUMONIA"
    assert model["finding_classes"] == ["BACTERIAL", "VIRAL"]
    assert model["classes"] == ["NORMAL", "BACTERIAL", "VIRAL"]


async def test_reports_tell_the_finding_and_its_kinds(ternary: Running) -> None:
    """FHIR and DICOM say pneumonia is present and give every class's probability."""
    file = make_dicom(230)
    fhir = await ternary.client.post(PREDICT, content=file, headers={"accept": FHIR})
    [finding] = [one for one in fhir.json()["contained"] if one["id"] == "finding"]
    assert finding["code"]["coding"][0]["code"] == "233604007"
    assert "VIRAL 0." in finding["note"][-1]["text"]
    report = await ternary.client.post(PREDICT, content=file, headers={"accept": DICOM})
    told: list[str] = []
    ds = pydicom.dcmread(io.BytesIO(report.content))
    ds.walk(lambda _, element: told.append(str(element.value)))
    assert "233604007" in told
    text = "\n".join(told)
    assert "Probabilities of the classes: NORMAL 0." in text


async def test_etiology_is_reported_as_bacterial_pneumonia(tmp_path: Path) -> None:
    """A model of another finding does not call it pneumonia alone."""
    make_task_bundle(tmp_path, ETIOLOGY, (-1.0, 1.0))
    async with running(make_settings(tmp_path), build_engine) as service:
        fhir = await service.client.post(PREDICT, content=make_dicom(230), headers={"accept": FHIR})
    answer = fhir.json()
    assert answer["conclusionCode"][0]["coding"][0]["code"] == "53084003"
    [finding] = [one for one in answer["contained"] if one["id"] == "finding"]
    assert finding["code"]["coding"][0]["code"] == "53084003"
    assert "note" not in finding
