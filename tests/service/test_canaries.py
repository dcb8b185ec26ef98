"""Nothing of the patient leaves the service but in the picture and in the DICOM asked for."""

from __future__ import annotations

import base64
import io
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.engines.registry import build_engine
from service.telemetry.logs import JsonFormatter
from tests.canaries import PLAN, found_in, planted
from tests.conftest import REPOSITORY
from tests.damages import BROKEN, NAME, SOUND, cut
from tests.service.conftest import make_settings
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, running
from tests.service.make_images import make_dicom, make_pixels
from tests.service.test_v2 import INFER, make_request
from tests.spans import recorded_spans

pytestmark = pytest.mark.anyio

PREDICT, EXPLAIN, RENDER = "/v1/predict", "/v1/explain", "/v1/render"
OBJECT, OBJECTS = "application/dicom", 'multipart/related; type="application/dicom"'
FHIR = "application/fhir+json"

TAKEN_OVER = {
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientAge",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "StudyDescription", "ReferringPhysicianName",
    "SOPInstanceUID", "SeriesInstanceUID", "ContentDate", "ContentTime",
}  # fmt: skip
"""By objects, docs/dicom-results.md; no canary can be a sex or an orientation."""

EXIF_DESCRIPTION, EXIF_ARTIST = 0x010E, 0x013B

Send = Callable[[httpx.AsyncClient, bytes], Any]


def posted(path: str, accept: str = "*/*") -> Send:
    """Send a file as it is."""
    return lambda client, file: client.post(path, content=file, headers={"Accept": accept})


def send_form(client: httpx.AsyncClient, file: bytes) -> Any:
    """Send a form with a sound file, too; the patient's name is the file's."""
    files = [("files", (f"{NAME}.dcm", one, "application/dicom")) for one in (file, make_dicom())]
    return client.post(PREDICT, files=files)


def send_json(client: httpx.AsyncClient, file: bytes) -> Any:
    """Send base64 in JSON."""
    return client.post(PREDICT, json={"images": [{"data": base64.b64encode(file).decode()}]})


def send_tensor(client: httpx.AsyncClient, file: bytes) -> Any:
    """Send it by the Open Inference Protocol."""
    return client.post(INFER, json=make_request(file))


WAYS: dict[str, tuple[Send, set[str]]] = {
    "predict": (posted(PREDICT), set()),
    "predict a form": (send_form, set()),
    "predict json": (send_json, set()),
    "explain": (posted(EXPLAIN), set()),
    "explain as a picture": (posted(EXPLAIN, "image/png"), set()),
    "render": (posted(RENDER), set()),
    "v2": (send_tensor, set()),
    "report": (posted(PREDICT, OBJECT), TAKEN_OVER),
    "capture": (posted(EXPLAIN, OBJECT), TAKEN_OVER - {"SeriesInstanceUID"}),
    "report and capture": (posted(EXPLAIN, OBJECTS), TAKEN_OVER),
    "fhir": (posted(PREDICT, FHIR), {"StudyInstanceUID"}),
}
"""How a file is sent, and what a good answer tells of it."""


@pytest.fixture
async def explaining(bundles: Path) -> AsyncIterator[Running]:
    """The application with a real engine and an explainer."""
    settings = make_settings(bundles, models="", log_level="debug")
    async with running(settings, build_engine, FakeExplainer().build) as ready:
        yield ready


@pytest.fixture(scope="module")
def source() -> bytes:
    """A sound object, full of canaries."""
    return planted(make_dicom(170))


def test_every_canary_is_in_the_object(source: bytes) -> None:
    """And is found where it is told."""
    ds = pydicom.dcmread(io.BytesIO(source))
    assert len(PLAN) > 4000
    assert found_in(f"{ds.file_meta}{ds}") == {name for _, _, name, _ in PLAN}


class Lines(logging.Handler):
    """Keeps all that a line could become of each record."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        plain, ours = logging.Formatter().format(record), JsonFormatter().format(record)
        self.lines += [plain, ours, str(vars(record))]


@contextmanager
def every_line() -> Iterator[list[str]]:
    """Collect what is logged, as if an operator had asked for all of everything."""
    loggers = [logging.getLogger(name) for name in ("", "pydicom", "highdicom", "PIL")]
    levels, handler = [logger.level for logger in loggers], Lines()
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(handler)
    yield handler.lines
    loggers[0].removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("damage", SOUND | BROKEN)
async def test_no_canary_is_told(
    damage: str,
    source: bytes,
    explaining: Running,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not in answers, headers, logs of any library and level, spans, streams or metrics."""
    lenient = pydicom.config.IGNORE
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", lenient)
    file = (SOUND | BROKEN)[damage](source)
    assert damage in ("cut at 0.002", "cut at 0.01") or NAME.encode() in file
    told: dict[str, set[str]] = {}
    with recorded_spans() as spans, every_line() as lines, monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/nowhere")  # so that nothing can be put there
        for way, (send, _) in WAYS.items():
            response = await send(explaining.client, file)
            assert (response.status_code < 400) == (damage in SOUND or "form" in way), way
            assert not found_in(str(response.headers.multi_items())), way
            assert "total;dur=" in response.headers["server-timing"], way
            told[way] = found_in(response.content)
    if damage == "good":
        assert told == {way: allowed for way, (_, allowed) in WAYS.items()}
    else:
        assert not {
            way: names - WAYS[way][1] for way, names in told.items() if names - WAYS[way][1]
        }
        assert damage in SOUND or not any(told.values())
    metrics = await explaining.client.get("/metrics")
    streams = capfd.readouterr()
    assert lines
    assert spans or find_spec("opentelemetry.sdk") is None
    assert not found_in("\n".join([metrics.text, streams.out, streams.err, *lines, *spans]))


@pytest.mark.parametrize("damage", ["good", "cut at 0.4"])
async def test_file_name_goes_back_to_its_sender_alone(
    damage: str, explaining: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the id of an image in JSON, and nowhere else."""
    files = {"scan": (f"{NAME}.dcm", (SOUND | BROKEN)[damage](make_dicom()), "application/dicom")}
    told = {}
    with recorded_spans() as spans, every_line() as lines:
        for path, accept in product((PREDICT, EXPLAIN, RENDER), ("*/*", OBJECT, OBJECTS, FHIR)):
            answer = await explaining.client.post(path, files=files, headers={"Accept": accept})
            told[path, accept] = answer.text
            assert NAME not in str(answer.headers)
    allowed = {(PREDICT, "*/*"), (EXPLAIN, "*/*")} if damage == "good" else set()
    assert {way for way, text in told.items() if NAME in text} == allowed
    metrics, streams = await explaining.client.get("/metrics"), capfd.readouterr()
    assert NAME not in "\n".join([metrics.text, streams.out, streams.err, *lines, *spans])


def picture_of(kind: str, mean: int = 170) -> bytes:
    """A plain picture whose metadata name the patient."""
    exif, text, buffer = Image.Exif(), PngInfo(), io.BytesIO()
    exif[EXIF_DESCRIPTION] = exif[EXIF_ARTIST] = NAME
    text.add_text("Description", NAME)
    Image.fromarray(make_pixels(mean)).save(buffer, kind, exif=exif, pnginfo=text, comment=NAME)
    return buffer.getvalue()


@pytest.mark.parametrize("share", [1, 0.9, 0.3])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_no_canary_of_a_plain_picture_is_told(
    kind: str, share: float, explaining: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not what Exif, comments and text chunks say."""
    file = cut(share)(picture_of(kind))
    assert NAME in file.decode("latin-1")
    with every_line() as lines:
        for way, (send, _) in WAYS.items():
            if way not in ("report", "capture", "report and capture"):
                response = await send(explaining.client, file)
                assert (response.status_code < 400) == (share == 1 or "form" in way), way
                assert not found_in(response.content), way
    streams = capfd.readouterr()
    assert not found_in("\n".join([streams.out, streams.err, *lines]))


@pytest.fixture(scope="module")
def folder(source: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in every state."""
    root = tmp_path_factory.mktemp("files")
    for number, damage in enumerate((SOUND | BROKEN).values()):
        (root / f"{number}.dcm").write_bytes(damage(source))
    return root


def test_command_line_tells_no_canary(folder: Path, bundles: Path, tmp_path: Path) -> None:
    """On no stream, not in its table of results, and in no temporary file."""
    (tmp_path / "temporary").mkdir()
    table = tmp_path / "results.csv"
    options = ["--bundles", str(bundles / "resnet18"), "--out", str(table)]
    done = subprocess.run(
        [sys.executable, "-m", "service", "predict", str(folder), *options],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary"), "CXR_LOG_LEVEL": "debug"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"{len(BROKEN)} of {len(SOUND | BROKEN)} files failed" in done.stderr
    assert not found_in(done.stdout + done.stderr + table.read_text())
    assert not list((tmp_path / "temporary").iterdir())
