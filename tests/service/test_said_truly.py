"""What is said by the finding and the decision, the same in every format."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR
from PIL import Image

from cxr.data.labels import TASKS
from cxr.explain import overlay
from cxr.explain.overlay import WITHHELD
from service.client.exchange import split_dicom
from service.commands.scoring import COLUMNS, score_files
from service.engines.registry import build_engine
from service.http.formats.fhir import FHIR
from service.multipart import DICOM, MULTIPART_DICOM
from tests.service.conftest import make_settings
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, running
from tests.service.make_images import make_dicom
from tests.service.test_pacs_objects import texts_of
from tests.service.test_ternary import make_task_bundle

pytestmark = pytest.mark.anyio

COLUMNS_OF = {"pneumonia": (-1.0, 1.0), "etiology": (-1.0, 1.0), "ternary": (-1.0, 0.5, 0.8)}

GREY = {"positive": 230, "negative": 20, "refer": 128, "out of scope": 230}

PRESUPPOSES = "presupposes pneumonia and does not tell whether there is any"

SAID: dict[str, tuple[str, dict[str, tuple[str, str, str | None]]]] = {
    "pneumonia": (
        "233604007",
        {
            "positive": ("Signs of pneumonia: likely", "at or above 80 %", "PNEUMONIA"),
            "negative": ("Signs of pneumonia: unlikely", "is below 20 %", "NORMAL"),
            "refer": ("No answer: a person has to look", "between 20 % and 80 %", None),
            "out of scope": ("Not a chest radiograph", "body part is not the chest", None),
        },
    ),
    "etiology": (
        "53084003",
        {
            "positive": (
                "If there is pneumonia: bacterial rather than viral",
                PRESUPPOSES,
                "BACTERIAL",
            ),
            "negative": (
                "If there is pneumonia: viral rather than bacterial",
                "bacterial rather than viral pneumonia, 0.1 %, is below 20 %",
                "VIRAL",
            ),
            "refer": ("No answer: a person has to look", PRESUPPOSES, None),
            "out of scope": ("Not a chest radiograph", "body part is not the chest", None),
        },
    ),
    "ternary": (
        "233604007",
        {
            "positive": ("Signs of pneumonia: likely", "The most probable kind is viral", "VIRAL"),
            "negative": ("Signs of pneumonia: unlikely", "below the threshold of 40 %", "NORMAL"),
            "refer": ("No answer: a person has to look", "not ruled out: normal", None),
            "out of scope": ("Not a chest radiograph", "body part is not the chest", None),
        },
    ),
}
"""By task: the code of its finding; by decision: headline, a part of the reason, and label."""

PRESENCE = {"positive": "52101004", "negative": "272519000"}

ROWS = pytest.mark.parametrize(
    ("task", "decision"), [(task, decision) for task in TASKS for decision in GREY]
)


def picture(decision: str) -> bytes:
    """Make a DICOM image that the test's models decide so."""
    part = "KNEE" if decision == "out of scope" else "CHEST"
    return make_dicom(GREY[decision], BodyPartExamined=part)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of bundles for each task."""
    made = {}
    for name, task in TASKS.items():
        made[name] = tmp_path_factory.mktemp(name)
        make_task_bundle(made[name], task, COLUMNS_OF[name])
    return made


@pytest.fixture
async def service(task: str, folders: dict[str, Path]) -> AsyncIterator[Running]:
    """The application with the model of a task."""
    explainer = FakeExplainer(columns=COLUMNS_OF[task])
    async with running(make_settings(folders[task]), build_engine, explainer.build) as ready:
        yield ready


async def ask(service: Running, decision: str, accept: str, path: str = "/v1/predict") -> Any:
    """Send the picture and give the response."""
    headers = {"Accept": accept}
    response = await service.client.post(path, content=picture(decision), headers=headers)
    assert response.status_code == 200, response.text
    return response


@ROWS
async def test_json(service: Running, task: str, decision: str) -> None:
    """Headline, reason and label agree with the decision; the page shows the first two."""
    [result] = (await ask(service, decision, "application/json")).json()["results"]
    headline, reason, label = SAID[task][1][decision]
    assert result["conclusion"]["headline"] == headline
    assert reason in " ".join(result["conclusion"]["reasons"])
    assert (result["finding"], result["label"]) == (TASKS[task].positive, label)
    assert result["decision"] == ("refer" if decision == "out of scope" else decision)


@ROWS
async def test_fhir(service: Running, task: str, decision: str) -> None:
    """The code is the finding's, the conclusion the one of JSON; out of scope has no number."""
    report = (await ask(service, decision, FHIR)).json()
    code, said = SAID[task]
    headline, reason, _ = said[decision]
    assert report["conclusion"].startswith(f"{headline}. ")
    assert reason in report["conclusion"]
    parts = {one["id"]: one for one in report["contained"]}
    assert parts["finding"]["code"]["coding"][0]["code"] == code
    presence = parts["finding"]["valueCodeableConcept"]["coding"][0]["code"]
    assert presence == PRESENCE.get(decision, "373068000")
    concluded = [one["coding"][0]["code"] for one in report.get("conclusionCode", [])]
    assert concluded == ([code] if decision == "positive" else [])
    in_scope = decision != "out of scope"
    assert ("probability" in parts) == (len(report["result"]) == 2) == in_scope
    assert ("%" in report["conclusion"]) == in_scope


@ROWS
async def test_structured_report(service: Running, task: str, decision: str) -> None:
    """Comments say the same; finding and presence are coded; out of scope has no number."""
    data = (await ask(service, decision, DICOM)).content
    document = Comprehensive3DSR.from_dataset(pydicom.dcmread(io.BytesIO(data)))
    code, said = SAID[task]
    headline, reason, _ = said[decision]
    comments = texts_of(document)["Comment"]
    assert comments[0] == f"{headline}."
    assert reason in " ".join(comments)
    [group] = document.content.get_image_measurement_groups()
    assert group.finding_type.value == code
    [evaluation] = group.get_qualitative_evaluations(group.finding_type)
    assert evaluation.name.value == code
    assert evaluation.value.value == PRESENCE.get(decision, "373068000")
    assert len(group.get_measurements()) == (0 if decision == "out of scope" else 2)


@ROWS
async def test_secondary_capture(
    service: Running, task: str, decision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caption and description have the headline; out of scope shows neither heatmap nor number."""
    captions: list[tuple[str, ...]] = []
    draw = overlay.render_caption

    def watched(lines: tuple[str, ...], width: int, **choices: Any) -> Any:
        captions.append(lines)
        return draw(lines, width, **choices)

    monkeypatch.setattr(overlay, "render_caption", watched)
    answer = await ask(service, decision, MULTIPART_DICOM, "/v1/explain")
    _, capture = (pydicom.dcmread(io.BytesIO(one)) for one in split_dicom(answer))
    headline = SAID[task][1][decision][0]
    [lines] = captions
    assert lines[0] == headline
    assert f"{headline}." in capture.DerivationDescription
    in_scope = decision != "out of scope"
    assert ("probability" in " ".join(lines)) == in_scope
    assert (WITHHELD in lines) == (not in_scope)
    assert ("heatmap of class" in capture.DerivationDescription) == in_scope
    assert ("DerivationCodeSequence" in capture) == in_scope


@pytest.mark.parametrize("task", ["pneumonia"])
async def test_pictures_out_of_scope_are_grey(service: Running) -> None:
    """Alone and in JSON; the numbers of the heatmap are still there for who asked for them."""
    png = (await ask(service, "out of scope", "image/png", "/v1/explain")).content
    shown = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)[:512, :512]
    assert np.ptp(shown, axis=2).max() == 0
    [result] = (await ask(service, "out of scope", "application/json", "/v1/explain")).json()[
        "results"
    ]
    assert base64.b64decode(result["explanation"]["overlay_png"]) == png
    assert result["explanation"]["heatmap"]["values"]


@ROWS
def test_table_of_files(task: str, decision: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """A row names the finding; a file that is referred has no label."""
    from service.models.loading import load_models

    (tmp_path / "a.dcm").write_bytes(picture(decision))
    settings = make_settings(folders[task])
    [model] = load_models(settings, build_engine).values()
    point = model.bundle.manifest.operating_point()
    [scored] = score_files([tmp_path / "a.dcm"], model, point, settings)
    row = scored.as_row()
    assert list(row) == list(COLUMNS)
    assert (row["finding"], row["label"]) == (
        TASKS[task].positive,
        SAID[task][1][decision][2] or "",
    )
