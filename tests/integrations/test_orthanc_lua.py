"""storescu -> Orthanc -> the script we ship -> service -> report and capture in the same study."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cxr.verdict.scope import FRONTAL_MODALITIES
from service.dicom.equipment import MANUFACTURER
from service.gateway.header import ANALYSED_CLASSES
from service.gateway.work.analysis import TRANSIENT_STATUSES
from tests.conftest import REPOSITORY
from tests.dicom_tools import store
from tests.examples import SERVICE, blocks
from tests.gateway.fakes import Answer, FakeService, problem
from tests.gateway.orthanc import Orthanc, needs_orthanc, running_orthanc
from tests.gateway.process import until
from tests.integrations.radiographs import PATIENT, STUDY, verify_results, write_radiograph
from tests.live import LiveServer

PAGE = "docs/integrations/orthanc/README.md"
SCRIPT = (REPOSITORY / "docs/integrations/orthanc/cxr-inference.lua").read_text()
READ = "was read, 2 results stored"

StartOrthanc = Callable[..., Orthanc]


def until_logged(orthanc: Orthanc, text: str, count: int = 1) -> None:
    """Wait until Orthanc has said something so many times."""
    until(lambda: orthanc.log.count(text) >= count)


@pytest.fixture
def start_orthanc(tmp_path: Path) -> Iterator[StartOrthanc]:
    """Start an Orthanc that is set up as the page says, with the script for a service."""
    with ExitStack() as running:

        def start(service_url: str, *, script_text: str = SCRIPT, **configuration: Any) -> Orthanc:
            script = tmp_path / "cxr-inference.lua"
            script.write_text(script_text.replace(f"http://{SERVICE}", service_url))
            [printed] = [block for block in blocks(PAGE, "json") if script.name in block]
            chosen = json.loads(printed.replace(f"/etc/orthanc/{script.name}", str(script)))
            assert chosen["LuaScripts"] == [str(script)]
            return running.enter_context(running_orthanc(tmp_path, chosen | configuration))

        yield start


@needs_orthanc
@pytest.mark.parametrize("overwrites", [False, True])
def test_results_lie_in_the_study_once(
    start_orthanc: StartOrthanc, live: LiveServer, tmp_path: Path, *, overwrites: bool
) -> None:
    """Both are found, fetched and valid; a repeat makes no doubles, results are not read."""
    orthanc = start_orthanc(live.address, OverwriteInstances=overwrites)
    file = write_radiograph(tmp_path / "chest.dcm")
    for count in (1, 2):
        store(orthanc.dimse_port, "ORTHANC", file)
        until_logged(orthanc, READ, count)
        verify_results(orthanc, tmp_path)
    assert orthanc.log.count("cxr: ") == 2
    assert not [value for value in PATIENT if value in orthanc.log]


@needs_orthanc
def test_refused_and_other_objects_are_left_alone(
    start_orthanc: StartOrthanc, live: LiveServer, tmp_path: Path
) -> None:
    """A refusal is told with its reason; what is no radiograph or our own is not asked about."""
    orthanc = start_orthanc(live.address)
    files = [
        write_radiograph(tmp_path / f"{number}.dcm", SOPInstanceUID=f"1.2.3.{number}", **attributes)
        for number, attributes in enumerate(
            [
                {"Modality": "CT"},
                {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
                {"Manufacturer": MANUFACTURER},
                {"PixelData": b"\0\0"},
            ]
        )
    ]
    store(orthanc.dimse_port, "ORTHANC", *files)
    until_logged(orthanc, "cxr: ")
    [line] = re.findall(r"cxr: .*", orthanc.log)
    assert re.fullmatch(r"cxr: [\w-]{44} is refused: 422 /docs/problems#[\w-]+", line)
    assert len(orthanc.find(STUDY)) == len(files)
    assert not [value for value in PATIENT if value in orthanc.log]


BUSY = problem(503, "not-ready")
LATE = json.dumps({"results": [{"problem": json.loads(problem(504, "deadline")[2])}]}).encode()
TROUBLE: dict[str, list[Answer]] = {
    "service": [BUSY, BUSY],
    "image": [problem(504, "deadline"), (200, {"Content-Type": "application/json"}, LATE)],
}


@needs_orthanc
@pytest.mark.parametrize("whose", TROUBLE)
def test_passing_trouble_is_tried_again(
    start_orthanc: StartOrthanc, fake_service: FakeService, tmp_path: Path, whose: str
) -> None:
    """The next try comes when a study is stable, and finds the service well."""
    answers = iter(TROUBLE[whose])
    fake_service.script = lambda number: next(answers, None)
    orthanc = start_orthanc(fake_service.url, StableAge=1)
    store(orthanc.dimse_port, "ORTHANC", write_radiograph(tmp_path / "chest.dcm"))
    until_logged(orthanc, READ)
    assert orthanc.log.count("was not read") == 1
    assert len(orthanc.find(STUDY)) == 3


@needs_orthanc
def test_outage_is_tried_again(
    start_orthanc: StartOrthanc, fake_service: FakeService, tmp_path: Path
) -> None:
    """So it is when nobody answered at all."""
    fake_service.stop()
    orthanc = start_orthanc(fake_service.url, StableAge=1)
    store(orthanc.dimse_port, "ORTHANC", write_radiograph(tmp_path / "chest.dcm"))
    until_logged(orthanc, "was not read")
    fake_service.start()
    until_logged(orthanc, READ)
    assert len(orthanc.find(STUDY)) == 3


@needs_orthanc
def test_tries_are_bounded(
    start_orthanc: StartOrthanc, fake_service: FakeService, tmp_path: Path
) -> None:
    """After three it is given up, and the log says so."""
    fake_service.script = lambda number: problem(503, "not-ready")
    orthanc = start_orthanc(fake_service.url, StableAge=1)
    for number in range(3):
        file = write_radiograph(
            tmp_path / f"{number}.dcm",
            StudyInstanceUID=f"1.2.3.{number}",
            Modality="CT" if number else "CR",  # others only make a study stable
        )
        store(orthanc.dimse_port, "ORTHANC", file)
        until_logged(orthanc, "was not read", number + 1)
    until_logged(orthanc, "is given up after 3 tries")
    assert fake_service.requests == 6  # each try asks, and asks why not


@needs_orthanc
def test_what_waits_at_the_end_is_named(
    start_orthanc: StartOrthanc, fake_service: FakeService, tmp_path: Path
) -> None:
    """Nothing survives a restart, so it is said what is forgotten."""
    fake_service.stop()
    orthanc = start_orthanc(fake_service.url)
    store(orthanc.dimse_port, "ORTHANC", write_radiograph(tmp_path / "chest.dcm"))
    until_logged(orthanc, "was not read")
    orthanc.stop()
    assert "is forgotten, because Orthanc stops" in orthanc.log


@needs_orthanc
def test_headers_of_the_script_are_sent(start_orthanc: StartOrthanc, tmp_path: Path) -> None:
    """A proxy that wants to know who asks is told with each request."""

    class Proxy(FakeService):
        def answer(self, path: str, headers: Any, body: bytes) -> Answer:
            if headers["authorization"] != "Bearer key":
                return problem(401, "unauthorised")
            return super().answer(path, headers, body)

    printed = "-- ['Authorization'] = 'Bearer …',"
    assert printed in SCRIPT
    keyed = SCRIPT.replace(printed, "['Authorization'] = 'Bearer key',")
    proxy = Proxy()
    try:
        orthanc = start_orthanc(proxy.url, script_text=keyed)
        store(orthanc.dimse_port, "ORTHANC", write_radiograph(tmp_path / "chest.dcm"))
        until_logged(orthanc, "cxr: ")
        assert READ in orthanc.log
    finally:
        proxy.stop()


def test_script_agrees_with_the_gateway() -> None:
    """Both read the same classes, know the same results and try the same statuses again."""
    assert set(re.findall(r"\['([\d.]+)'\] = true", SCRIPT)) == ANALYSED_CLASSES
    assert {int(status) for status in re.findall(r"\[(\d+)\] = true", SCRIPT)} == TRANSIENT_STATUSES
    assert f"OURS = '{MANUFACTURER}'" in SCRIPT
    assert set(re.findall(r"\b([A-Z]{2}) = true", SCRIPT)) < FRONTAL_MODALITIES
