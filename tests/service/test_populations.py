"""Patients unlike those a model was validated on: referred, unless the operator says otherwise."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR

from cxr.errors import ImageOutOfScopeError
from cxr.explain import overlay
from cxr.verdict.conclusion import OUT_OF_SCOPE
from cxr.verdict.reasons import UNFAMILIAR
from service.answers import ModelAnswer
from service.commands.scoring import score_files
from service.engines.protocol import OutputRow
from service.engines.registry import build_engine
from service.http.formats.fhir import FHIR
from service.images.preparation import prepare_image
from service.models.loading import load_models
from service.models.predictor import build_result
from service.multipart import DICOM
from tests.populations import ADULTS, CHILDREN, UNPROVEN, as_sections
from tests.service.conftest import make_settings
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, running
from tests.service.make_bundle import (
    LIKE_ADULTS,
    LIKE_CHILDREN,
    LIKE_NOBODY,
    MAX_PIXELS,
    make_bundle,
)
from tests.service.make_images import make_dicom, make_flat_png, make_png
from tests.service.test_metrics import scrape
from tests.service.test_pacs_objects import texts_of
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

PREDICT = "/v1/predict"
HEADLINE = OUT_OF_SCOPE[UNFAMILIAR]
UNDETERMINED, PRESENT = "373068000", "52101004"

CASES = {
    "a child's": ("children", {}, "children", ""),
    "a child's, of its age": ("children", {"PatientAge": "003Y"}, "children", ""),
    "a child's, by months": ("children", {"PatientAge": "030M"}, "children", ""),
    "a child's, age unreadable": ("children", {"PatientAge": "abc"}, "children", ""),
    "a child's, of an adult": ("children", {"PatientAge": "045Y"}, None, "age is another"),
    "a child's, of nobody known": ("children", {"PatientAge": "009Y"}, None, "age is outside"),
    "an adult's": ("adults", {}, "adults", ""),
    "an adult's, of a child": ("adults", {"PatientAge": "003Y"}, None, "age is another"),
    "an adult's, not validated": ("unproven", {"PatientAge": "045Y"}, "adults", "only on children"),
    "a child's, of an adult not validated": (
        *("unproven-child", {"PatientAge": "045Y"}, None, "age is outside"),
    ),
    "nobody's": ("nobody", {}, None, "does not look like those"),
    "nobody's, of a child": ("nobody", {"PatientAge": "003Y"}, None, "does not look like those"),
}
"""Model, by whom it takes every picture to be of; attributes; the population found; the reason."""

TABLE = pytest.mark.parametrize(
    ("model", "attributes", "population", "reason"), CASES.values(), ids=CASES
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of two populations that take every picture to be of one of them, or of none."""
    root = tmp_path_factory.mktemp("populations")
    models: dict[str, tuple[Any, Any]] = {
        "children": (LIKE_CHILDREN, ADULTS),
        "adults": (LIKE_ADULTS, ADULTS),
        "unproven": (LIKE_ADULTS, UNPROVEN),
        "unproven-child": (LIKE_CHILDREN, UNPROVEN),
        "nobody": (LIKE_NOBODY, ADULTS),
    }
    for name, (lines, second) in models.items():
        scope = {
            "thresholds": {"layout": -1.0, "embedding": 1e9, "populations": lines},
            "figures": [],
        }
        make_bundle(root, name, scope=scope, populations=as_sections(CHILDREN, second))
    return root


def settings(folder: Path, **changes: str) -> Any:
    return make_settings(folder, models="", default_model="nobody", **changes)


@pytest.fixture(scope="module")
async def service(folder: Path) -> Any:
    """The service as it is by default."""
    async with running(settings(folder), build_engine, FakeExplainer().build) as ready:
        yield ready


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module's service."""
    return "asyncio"


async def ask(
    service: Running, model: str, attributes: dict[str, str], accept: str = "application/json"
) -> Any:
    data = make_dicom(170, **attributes)
    headers = {"Accept": accept}
    response = await service.client.post(
        PREDICT, content=data, params={"model": model}, headers=headers
    )
    assert response.status_code == 200, response.text
    return response


@TABLE
async def test_json(
    service: Running, model: str, attributes: dict[str, str], population: str | None, reason: str
) -> None:
    """A familiar picture is decided; any other is referred and says why, never the age."""
    [result] = (await ask(service, model, attributes)).json()["results"]
    found = result["population"]
    assert (found and found["name"]) == population
    assert result["scope"]["codes"] == ([UNFAMILIAR] if reason else [])
    assert reason in " ".join(result["scope"]["reasons"])
    assert result["scope"]["in_scope"] == (not reason)
    assert (result["decision"], result["label"]) == (
        ("refer", None) if reason else ("positive", "PNEUMONIA")
    )
    assert (result["conclusion"]["headline"] == HEADLINE) == bool(reason)
    unread = attributes.get("PatientAge") == "abc"
    assert len(result["warnings"]) == unread
    assert "45" not in str(result["scope"] | result["conclusion"])


@TABLE
async def test_fhir(
    service: Running, model: str, attributes: dict[str, str], population: str | None, reason: str
) -> None:
    """Undetermined and without a number, as what is no chest; a familiar one names its patients."""
    report = (await ask(service, model, attributes, FHIR)).json()
    finding = next(one for one in report["contained"] if one["id"] == "finding")
    presence = finding["valueCodeableConcept"]["coding"][0]["code"]
    assert presence == (UNDETERMINED if reason else PRESENT)
    assert len(report["result"]) == (1 if reason else 2)
    assert reason in report["conclusion"]
    assert report["conclusion"].startswith(HEADLINE) == bool(reason)
    known = {"children": CHILDREN.who, "adults": ADULTS.who}
    assert ("Population: " in report["conclusion"]) == (not reason)
    assert reason or f"Population: {known[str(population)]}." in report["conclusion"]


@TABLE
async def test_structured_report(
    service: Running, model: str, attributes: dict[str, str], population: str | None, reason: str
) -> None:
    """The same in DICOM, and the population among the algorithm's parameters."""
    data = (await ask(service, model, attributes, DICOM)).content
    document = Comprehensive3DSR.from_dataset(pydicom.dcmread(io.BytesIO(data)))
    [group] = document.content.get_image_measurement_groups()
    [evaluation] = group.get_qualitative_evaluations(group.finding_type)
    assert evaluation.value.value == (UNDETERMINED if reason else PRESENT)
    assert bool(group.get_measurements()) == (not reason)
    texts = texts_of(document)
    assert f"population: {population or 'none'}" in texts["Algorithm Parameters"]
    assert reason in " ".join(texts["Comment"])
    assert texts["Comment"][0].startswith(HEADLINE) == bool(reason)


async def test_no_heatmap_of_an_unfamiliar_picture(service: Running) -> None:
    """It would explain an answer that is not given."""
    response = await service.client.post(
        "/v1/explain",
        content=make_dicom(170),
        params={"model": "nobody"},
        headers={"Accept": DICOM},
    )
    capture = pydicom.dcmread(io.BytesIO(response.content))
    assert capture.DerivationDescription.startswith("No heatmap")
    assert HEADLINE in capture.DerivationDescription
    assert "does not look like those" in capture.DerivationDescription


async def test_referrals_are_counted_by_reason(folder: Path) -> None:
    """An operator sees at once that patients come whom the model does not know."""
    async with running(settings(folder), build_engine) as service:
        for data in (make_png(170), make_png(180), make_flat_png(200)):
            await service.client.post(PREDICT, content=data)
        told = await scrape(service)
    assert told["cxr_out_of_scope_total", "nobody", UNFAMILIAR] == 2
    assert told["cxr_out_of_scope_total", "nobody", "blank"] == 1


async def test_refuse_answers_422(folder: Path) -> None:
    """Predict and explain alike, and only what is unfamiliar; the rest follows CXR_SCOPE."""
    chosen = settings(folder, unfamiliar="refuse")
    async with running(chosen, build_engine, FakeExplainer().build) as service:
        for path in (PREDICT, "/v1/explain"):
            response = await service.client.post(path, content=make_png(170))
            problem = verify_problem(response, 422, "unfamiliar-population")
            assert "does not look like those" in problem["detail"]
        blank = await service.client.post(PREDICT, content=make_flat_png(200))
        [result] = blank.json()["results"]
        assert (result["decision"], result["scope"]["codes"]) == ("refer", ["blank"])
        familiar = await service.client.post(
            PREDICT, content=make_png(170), params={"model": "children"}
        )
        assert familiar.json()["results"][0]["decision"] == "positive"
        told = await scrape(service)
    assert told["cxr_out_of_scope_total", "nobody", UNFAMILIAR] == 2


async def test_refusing_other_pictures_refers_the_unfamiliar(folder: Path) -> None:
    """The two settings are about different things."""
    async with running(settings(folder, scope="refuse"), build_engine) as service:
        [result] = (await service.client.post(PREDICT, content=make_png(170))).json()["results"]
        blank = await service.client.post(PREDICT, content=make_flat_png(200))
    assert (result["decision"], result["scope"]["codes"]) == ("refer", [UNFAMILIAR])
    verify_problem(blank, 422, "image-out-of-scope")


@TABLE
async def test_warn_decides_with_a_warning(
    folder: Path, model: str, attributes: dict[str, str], population: str | None, reason: str
) -> None:
    """Whoever validates the model on other patients needs its answers."""
    async with running(settings(folder, unfamiliar="warn"), build_engine) as service:
        [result] = (await ask(service, model, attributes)).json()["results"]
        report = (await ask(service, model, attributes, FHIR)).json()
        tensors = await infer(service, model, make_dicom(170, **attributes))
    assert (result["decision"], result["scope"]["in_scope"]) == ("positive", True)
    assert tensors["decision"] == ["positive"]
    assert reason in tensors["warnings"][0]
    assert ("not validated" in report["conclusion"]) == bool(reason)
    unread = attributes.get("PatientAge") == "abc"
    assert len(result["warnings"]) == bool(reason) + unread
    assert reason in " ".join(result["warnings"])
    found = result["population"]
    assert (found and found["name"]) == population
    finding = next(one for one in report["contained"] if one["id"] == "finding")
    assert finding["valueCodeableConcept"]["coding"][0]["code"] == PRESENT
    assert reason in str(finding.get("note", ""))


async def infer(service: Running, model: str, data: bytes) -> dict[str, list[Any]]:
    """Ask by the other protocol, and give the outputs by name."""
    wanted = {"name": "image_bytes", "shape": [1], "datatype": "BYTES"}
    wanted["data"] = [base64.b64encode(data).decode()]
    answer = await service.client.post(f"/v2/models/{model}/infer", json={"inputs": [wanted]})
    return {one["name"]: one["data"] for one in answer.json()["outputs"]}


async def test_what_a_corrected_age_changes_is_another_object(folder: Path) -> None:
    """An archive keeps the first of two objects with one UID: the decision would hide the doubt."""
    async with running(settings(folder), build_engine) as service:
        same = {"SOPInstanceUID": "1.2.3"}
        told = [
            pydicom.dcmread(io.BytesIO((await ask(service, "children", age, DICOM)).content))
            for age in (same, same | {"PatientAge": "003Y"}, same | {"PatientAge": "045Y"})
        ]
    uids = [one.SOPInstanceUID for one in told]
    assert uids[0] == uids[1] != uids[2]


async def test_doubt_about_an_age_is_told(folder: Path) -> None:
    """Without its value: what cannot be read is unknown, and two ages must both fit."""
    dates = {"PatientBirthDate": "19700601", "StudyDate": "20150601"}
    async with running(settings(folder), build_engine) as service:
        [unread] = (await ask(service, "children", {"PatientAge": "45"})).json()["results"]
        both = {"PatientAge": "003Y", **dates}
        [contradicted] = (await ask(service, "children", both)).json()["results"]
        [dated] = (await ask(service, "children", {"PatientAge": "999Y", **dates})).json()[
            "results"
        ]
    assert (unread["decision"], len(unread["warnings"])) == ("positive", 1)
    assert "cannot be read" in unread["warnings"][0]
    assert (contradicted["decision"], contradicted["scope"]["codes"]) == ("refer", [UNFAMILIAR])
    assert "contradict" in " ".join(contradicted["warnings"])
    assert (dated["decision"], dated["warnings"]) == ("refer", [])


async def test_warning_is_shown_in_the_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heatmap in an archive is seen without the answer it came with."""
    captions: list[tuple[str, ...]] = []
    draw = overlay.render_caption

    def watched(lines: tuple[str, ...], width: int, **choices: Any) -> Any:
        captions.append(lines)
        return draw(lines, width, **choices)

    monkeypatch.setattr(overlay, "render_caption", watched)
    chosen = settings(folder, unfamiliar="warn")
    async with running(chosen, build_engine, FakeExplainer().build) as service:
        response = await service.client.post(
            "/v1/explain", content=make_dicom(170), headers={"Accept": DICOM}
        )
    capture = pydicom.dcmread(io.BytesIO(response.content))
    assert "does not look like those" in capture.DerivationDescription
    assert "does not look like those" in " ".join(captions[0])


def test_a_shadow_refers_what_it_would_refuse(folder: Path) -> None:
    """There is a decision to compare either way."""
    chosen = settings(folder, unfamiliar="refuse")
    model = load_models(chosen, build_engine, ("nobody",))["nobody"]
    image = prepare_image(make_png(170), model.bundle.manifest.preprocessing, MAX_PIXELS)
    shares = np.array([0.1, 0.9], dtype=np.float32)
    row, point = OutputRow(np.log(shares), shares, shares), model.bundle.manifest.operating_point()
    with pytest.raises(ImageOutOfScopeError, match="does not look like") as refused:
        build_result("0", image, row, model, point)
    assert refused.value.code == UNFAMILIAR
    result = build_result("0", image, row, model, point, may_refuse=False)
    assert (result.decision, result.scope.codes) == ("refer", (UNFAMILIAR,))


async def test_models_tell_whom_they_know(service: Running) -> None:
    """With figures and intervals; who is not validated is not left out."""
    answer = (await service.client.get("/v1/models/unproven")).json()
    told = ModelAnswer.model_validate(answer).populations
    assert [(one.name, one.validated) for one in told] == [("children", True), ("adults", False)]
    assert told[1].auroc == UNPROVEN.auroc
    assert told[0].ages_years == CHILDREN.ages_years
    assert told[0].sources == CHILDREN.sources


@pytest.mark.parametrize(
    ("unfamiliar", "status", "decision"),
    [("refer", "ok", "refer"), ("warn", "ok", "positive"), ("refuse", "error", "")],
)
def test_command_line_follows_the_same_setting(
    folder: Path, tmp_path: Path, unfamiliar: str, status: str, decision: str
) -> None:
    """Its table has a column for the population."""
    (tmp_path / "a.png").write_bytes(make_png(170))
    chosen = settings(folder, unfamiliar=unfamiliar)
    for name, population in (("unproven", "adults"), ("nobody", "")):
        model = load_models(chosen, build_engine, (name,))[name]
        point = model.bundle.manifest.operating_point()
        [scored] = score_files([tmp_path / "a.png"], model, point, chosen)
        row = scored.as_row()
        assert (row["status"], row["decision"]) == (status, decision)
        assert row["population"] == (population if status == "ok" else "")
        assert "validated" in row["remarks"]
