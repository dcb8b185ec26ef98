"""Nothing of the patient leaves the service but in the picture itself."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from service.inference.engines import build_engine
from tests.service.conftest import make_settings
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, running
from tests.service.make_images import make_dicom
from tests.service.test_v2 import INFER, make_request

pytestmark = pytest.mark.anyio

CANARY = "CANARY4711"
TEXT_VRS = {"LO", "LT", "PN", "SH", "ST", "UT", "AE", "CS"}
GROUPS = ("Patient", "Physician", "Institution", "Operator", "Requesting", "Referring", "Study")


def canary_attributes() -> dict[str, object]:
    """Every textual attribute of patient, staff, place or study, with a canary in it."""
    found: dict[str, object] = {}
    for vr, _, _, _, keyword in pydicom.datadict.DicomDictionary.values():
        if vr in TEXT_VRS and any(group in keyword for group in GROUPS):
            found[keyword] = CANARY
    found |= {"PatientAge": CANARY, "PatientBirthDate": CANARY, "StudyDate": CANARY}
    return found | {"AccessionNumber": CANARY, "WindowCenterWidthExplanation": CANARY}


def damage_nothing(data: bytes) -> bytes:
    """A sound file."""
    return data


def cut(data: bytes) -> bytes:
    """Half of the file."""
    return data[: len(data) // 2]


def rewritten(edit: Callable[[Dataset], None]) -> Callable[[bytes], bytes]:
    """Change the dataset."""

    def change(data: bytes) -> bytes:
        ds = pydicom.dcmread(io.BytesIO(data))
        edit(ds)
        buffer = io.BytesIO()
        ds.save_as(buffer)
        return buffer.getvalue()

    return change


def without_pixels(ds: Dataset) -> None:
    del ds.PixelData


def with_text_for_numbers(ds: Dataset) -> None:
    ds.add_new("WindowCenter", "DS", "1")
    ds["WindowCenter"]._value = CANARY
    ds.add_new("NumberOfFrames", "LO", CANARY)


def with_odd_codes(ds: Dataset) -> None:
    ds.PhotometricInterpretation = CANARY


DAMAGES = {
    "good": damage_nothing,
    "cut": cut,
    "cut in the header": lambda data: data[:900],
    "no pixels": rewritten(without_pixels),
    "odd photometric": rewritten(with_odd_codes),
    "text for a number": rewritten(with_text_for_numbers),
}


@pytest.fixture
async def explaining(bundles: Path) -> AsyncIterator[Running]:
    """The application with a real engine and an explainer."""
    settings = make_settings(bundles, models="")
    async with running(settings, build_engine, FakeExplainer().build) as ready:
        yield ready


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/v1/render", INFER])
async def test_no_canary_is_told(
    path: str,
    damage: str,
    explaining: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not in answers, headers, logs, standard streams or metrics."""
    lenient = pydicom.config.IGNORE
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", lenient)
    file = DAMAGES[damage](make_dicom(170, **canary_attributes()))
    assert CANARY.encode() in file
    with caplog.at_level(logging.DEBUG):
        body = {"json": make_request(file)} if path == INFER else {"content": file}
        response = await explaining.client.post(path, **body)
    metrics = await explaining.client.get("/metrics")
    streams = capfd.readouterr()
    told = [str(response.headers), response.text, metrics.text, streams.out, streams.err]
    assert (response.status_code < 400) == (damage == "good")
    assert not any(CANARY in text for text in told)
    assert not any(CANARY in record.getMessage() for record in caplog.records)
    assert not any(CANARY in (record.exc_text or "") for record in caplog.records)
