"""Archives and services that answer with anything: an attempt with its reason, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from service.gateway.deliver.delivery_task import DeliveryTask
from service.gateway.deliver.dimse import _store
from service.gateway.deliver.stow import StowSender
from service.gateway.deliver.stow_answer import read_stow_answer
from service.gateway.destinations import Destination
from service.gateway.errors import SourceUnavailableError
from service.gateway.receive.intake import Intake
from service.gateway.receive.pull import pull_study
from service.gateway.signals import Signals
from service.gateway.work.analysis import Analysis
from service.gateway.work.analysis_task import AnalysisTask
from service.gateway.work.loop import GiveUp, TryAgain, Worker, WorkerTask, endless_retry
from service.multipart import build_related, split_related
from service.telemetry.gateway import GatewayMetrics
from tests.gateway.conftest import Box
from tests.gateway.objects import make_object, make_results
from tests.hostile_answers import (
    BROKEN,
    ENCODED,
    FRAGMENTED,
    NEVER_DONE,
    TOO_LARGE,
    Answer,
    serving,
    whole,
)

STORED = '{"00081199": {"vr": "SQ", "Value": [%s]}}'
ITEM = '{"00081155": {"vr": "UI", "Value": ["1.5.1"]}}'
FAILED = '{"00081198": {"vr": "SQ", "Value": [{"00081155": {"Value": ["1.5.1"]}, %s}]}}'

NOT_UNDERSTOOD = {
    "no JSON": "<html>",
    "empty": "",
    "no UTF-8": b"\xff\xfe\x00",
    "cut off": STORED[:20],
    "deep lists": "[" * 100_000,
    "deep objects": '{"a":' * 20_000,
    "Infinity": '{"00081199": Infinity}',
    "NaN": '{"00081199": {"Value": [NaN]}}',
    "a number without end": '{"a": ' + "9" * 100_000 + "}",
    "an endless reason": FAILED % '"00081197": {"Value": [1e999]}',
    "a long reason": FAILED % '"00081197": {"Value": [9999999999999999999999]}',
    "a negative reason": FAILED % '"00081197": {"Value": [-1]}',
    "a fraction": FAILED % '"00081197": {"Value": [1.5]}',
    "a truth": FAILED % '"00081197": {"Value": [true]}',
    "words": FAILED % '"00081197": {"Value": ["\u00b2"]}',
    "no reason": FAILED % '"00081197": {"Value": []}',
    "two reasons": FAILED % '"00081197": {"Value": [272, 273]}',
    "a member twice": STORED % '{"00081155": {"Value": ["1.5.1"]}, "00081155": {"Value": ["9"]}}',
    "a sequence twice": STORED[:-1] % ITEM + ', "00081199": {"Value": []}}',
    "a number for a UID": STORED % '{"00081155": {"Value": [15]}}',
    "a list for a UID": STORED % '{"00081155": {"Value": [["1.5.1"]]}}',
    "an object for items": '{"00081199": {"Value": {"0": 1}}}',
    "text for items": '{"00081199": {"Value": "1.5.1"}}',
    "null": "null",
    "a number": "1",
    "null for a sequence": '{"00081199": null}',
}


def reasons(prefix: str) -> list[Any]:
    """Give every hostile server with the reason that the job gets."""
    kinds = {
        "too-large": TOO_LARGE,
        "encoded": ENCODED,
        "fragmented": FRAGMENTED,
    }
    rows = [
        pytest.param(answer, f"{prefix}-answer-{reason}", id=name)
        for reason, cases in kinds.items()
        for name, answer in cases.items()
    ]
    rows += [pytest.param(one, f"{prefix}-timeout", id=name) for name, one in NEVER_DONE.items()]
    return rows + [
        pytest.param(one, f"{prefix}-unreachable", id=name) for name, one in BROKEN.items()
    ]


def patience_s(reason: str) -> float:
    """Give a short time where that is what ends it, else one that a busy machine keeps."""
    return 0.4 if reason.endswith("timeout") else 20.0


def send(answer: Answer, timeout_s: float = 20.0) -> TryAgain | GiveUp | None:
    """Send two results to an archive that answers so."""
    with serving(answer) as server:
        sender = StowSender(Destination("pacs", "stow", url=server.url), timeout_s)
        try:
            return sender.send(make_results("1.5"))
        finally:
            sender.close()


@pytest.mark.parametrize(("answer", "reason"), reasons("archive"))
def test_an_archives_answer_is_read_in_bounds(answer: Answer, reason: str) -> None:
    """It says nothing of the objects, which are sent again later."""
    assert send(answer, patience_s(reason)) == TryAgain(reason)


@pytest.mark.parametrize("content", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_an_answer_that_is_not_understood_confirms_nothing(content: str | bytes) -> None:
    """Whatever it is instead, and without an exception of any other type."""
    data = content.encode() if isinstance(content, str) else content
    assert send(whole(data)) == TryAgain("archive-answer-not-understood")


def test_a_reason_may_be_written_as_text() -> None:
    """Some archives write numbers of DICOM JSON as strings (PS3.18, F.2.2 allows it)."""
    told = (FAILED % '"00081197": {"Value": ["43264"]}').encode()
    assert read_stow_answer(told) == (set(), {"1.5.1": 0xA900})


@pytest.mark.parametrize(("answer", "reason"), reasons("service"))
def test_the_services_answer_is_read_in_bounds(answer: Answer, reason: str) -> None:
    """A proxy may stand where the service was."""
    with serving(answer) as server:
        analysis = Analysis(server.url, patience_s(reason))
        try:
            assert analysis.analyse(make_object()) == TryAgain(reason)
        finally:
            analysis.close()


MULTIPART = 'multipart/related; type="application/dicom"; boundary='
OBJECTS = {
    "a thousand parts": whole(build_related([b"x"] * 1000)[1], Content_Type=build_related([])[0]),
    "no end": whole(b"--b\r\n\r\nx", Content_Type=MULTIPART + "b"),
    "a boundary without end": whole(b"x", Content_Type=MULTIPART + "b" * 5000),
    "a boundary of other letters": whole(
        b"x", Content_Type=MULTIPART + "\u20ac".encode().decode("latin-1")
    ),
    "no part": whole(b"--b--\r\n", Content_Type=MULTIPART + "b"),
    "another type": whole(b"{}", Content_Type="application/json"),
}


@pytest.mark.parametrize("answer", OBJECTS.values(), ids=OBJECTS)
def test_what_is_no_answer_of_the_service_is_tried_again(answer: Answer) -> None:
    """It is nothing of the object's."""
    with serving(answer) as server:
        analysis = Analysis(server.url, 5)
        try:
            assert analysis.analyse(make_object()) == TryAgain("service-answer-not-understood")
        finally:
            analysis.close()


@pytest.mark.parametrize(
    "problem",
    [
        {"type": "/docs/problems#" + "a" * 10_000, "status": 422},
        {"type": "/docs/problems#jane", "status": 10**400},
        {"type": "/docs/problems#jane", "status": 503},
        {"type": "x", "status": "no"},
    ],
    ids=["long", "huge status", "other status", "no problem"],
)
def test_a_problem_is_of_its_status(problem: dict[str, Any]) -> None:
    """Whatever it says itself; and its type is a reason only if it can be one."""
    told = {"title": "t", "detail": "d"} | problem
    with serving(whole(json.dumps(told).encode(), 422)) as server:
        analysis = Analysis(server.url, 5)
        judged = analysis.analyse(make_object())
        analysis.close()
    assert isinstance(judged, GiveUp)
    assert judged.is_of_object
    assert judged.reason in {"service-422", "service-jane"}


@pytest.mark.parametrize("length", [1, 70, 73, 256])
def test_boundaries_that_are_sent_are_read(length: int) -> None:
    """The standard allows 70 characters; Orthanc sends two UUIDs."""
    boundary = "b" * length
    body = f"--{boundary}\r\n\r\nx\r\n--{boundary}--\r\n".encode()
    assert split_related(MULTIPART + boundary, body) == [b"x"]


@pytest.fixture
def intake(box: Box) -> Intake:
    """An intake into the box."""
    return Intake(box.inbox, box.spool, Signals(), GatewayMetrics())


def pull(intake: Intake, url: str, **bounds: float) -> list[Any]:
    """Pull a study."""
    chosen: dict[str, Any] = {
        "timeout_s": 20.0,
        "longest_s": 0.4,
        "max_instance_bytes": 1 << 30,
        "max_body_bytes": 1 << 20,
    } | bounds
    return list(pull_study(url, "1.2.3", intake, **chosen))


@pytest.mark.parametrize(
    "answer",
    [
        *(TOO_LARGE | ENCODED | FRAGMENTED | NEVER_DONE | BROKEN).values(),
        *(one for name, one in OBJECTS.items() if name not in ("a thousand parts", "no part")),
    ],
    ids=[*(TOO_LARGE | ENCODED | FRAGMENTED | NEVER_DONE | BROKEN), *list(OBJECTS)[1:4], "json"],
)
def test_a_pull_is_read_in_bounds(intake: Intake, answer: Answer, tmp_path: Path) -> None:
    """The caller hears it as one problem; nothing stays of what came."""
    with serving(answer) as server, pytest.raises(SourceUnavailableError):
        pull(intake, server.url)
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_a_pull_of_crumbs_has_few_files_open(intake: Intake) -> None:
    """Parts of a byte would be as many open files as fit into what comes at a time."""
    most, stage = 0, intake.spool.stage

    def counted() -> Any:
        nonlocal most
        most = max(most, len(list(Path("/proc/self/fd").iterdir())))
        return stage()

    intake.spool.stage = counted  # type: ignore[method-assign]
    before = len(list(Path("/proc/self/fd").iterdir()))
    content_type, body = build_related([b"x"] * 2000)
    with serving(whole(body, Content_Type=content_type)) as server:
        assert pull(intake, server.url, longest_s=60) == [None] * 2000
    assert most < before + 100


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ([0, 0], TryAgain("archive-answer-not-understood")),
        ("0", TryAgain("archive-answer-not-understood")),
        (None, TryAgain("archive-timeout")),
        (0x0001, TryAgain("archive-failure-0001")),
        (0xB007, None),
    ],
    ids=["two", "text", "none", "unknown", "warning"],
)
def test_a_status_of_dimse_is_one_number(status: Any, expected: TryAgain | None) -> None:
    """Whatever else stands there confirms nothing."""

    class Answered:
        is_established = True
        send_c_store = staticmethod(lambda ds: {"Status": status})

    assert _store(Answered(), Dataset()) == expected  # type: ignore[arg-type]


FAILURES = [
    ValueError("Canary^Jane"), OverflowError("Canary^Jane"), RecursionError("Canary^Jane"),
    MemoryError("Canary^Jane"), UnicodeDecodeError("utf-8", b"x", 0, 1, "Canary^Jane"),
    OSError(5, "Canary^Jane"), httpx.InvalidURL("Canary^Jane"), AssertionError("Canary^Jane"),
]  # fmt: skip
EACH_FAILURE = pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)


def raising(error: Exception) -> Callable[..., Any]:
    """Give what fails in this way."""

    def fail(*_: object) -> Any:
        raise error

    return fail


def do_next(task: WorkerTask[Any], longest_h: float = 1.0) -> None:
    """Let a worker do what is due."""
    signals, retry = Signals(), endless_retry(60, 60)
    work = task.lease(())
    assert work is not None
    Worker(task, 1, signals, signals.analysis, retry=retry, longest_h=longest_h).do(work)


@EACH_FAILURE
@pytest.mark.parametrize("where", ["asking", "reading", "writing"])
def test_every_failure_of_an_analysis_is_an_attempt(
    box: Box, error: Exception, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With its reason on the job, no lease that is left to run out, and nothing left over."""

    class Asked:
        analyse = staticmethod(raising(error) if where == "asking" else lambda data: [b"x"])

    job_id, _ = box.receive(make_object())
    if where != "asking":
        setattr(box.spool, "read" if where == "reading" else "write", raising(error))
        Asked.analyse = staticmethod(lambda data: make_results("1.5"))
    task = AnalysisTask(box.inbox, box.spool, Asked(), Signals(), GatewayMetrics())
    do_next(task)
    entry = box.ledger.get(job_id)
    assert (entry.state, entry.attempts) == ("received", 1)
    assert entry.reason == f"gateway-{type(error).__name__}"
    assert task.lease() is None
    assert len(box.spool.names(0)) == 1
    assert "Canary" not in caplog.text.replace(repr(error), "").replace(str(error), "")


@EACH_FAILURE
def test_every_failure_of_a_delivery_is_an_attempt(box: Box, error: Exception) -> None:
    """The other destination is not concerned."""

    class Broken:
        send = staticmethod(raising(error))
        close = staticmethod(lambda: None)

    job_id, _ = box.receive(make_object())
    box.analyse_next()
    senders = {"pacs": Broken(), "archive": Broken()}
    task = DeliveryTask(box.outbox, box.spool, senders, GatewayMetrics(), lambda seq: None)
    for _ in range(2):
        do_next(task)
    assert box.outbox.lease() is None
    ways = box.ledger.get(job_id).deliveries
    expected = ("waiting", 1, f"gateway-{type(error).__name__}")
    assert [(way.state, way.attempts, way.reason) for way in ways] == [expected] * 2


def test_what_fails_for_good_ends_as_a_dead_letter(box: Box) -> None:
    """Also where it is the gateway's own failure."""
    job_id, _ = box.receive(make_object())
    asked = type("Asked", (), {"analyse": staticmethod(raising(ValueError()))})()
    do_next(AnalysisTask(box.inbox, box.spool, asked, Signals(), GatewayMetrics()), longest_h=0.0)
    assert box.ledger.get(job_id).state == "dead"
    assert box.ledger.get(job_id).reason == "gateway-ValueError"
