"""What the service and archives answer, and what is made of it."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from service.errors import InvalidRequestError, PayloadTooLargeError
from service.gateway.deliver.stow import StowSender, judge_answer
from service.gateway.deliver.stow_answer import Failed, Stored, build_stow_answer
from service.gateway.destinations import parse_destinations, parse_peers
from service.gateway.work.analysis import Analysis
from service.gateway.work.loop import GiveUp, TryAgain, delay_s, endless_retry
from service.multipart import RelatedParser, build_related, split_related
from tests.gateway.fakes import FakeArchive, FakeService, problem
from tests.gateway.objects import COMPREHENSIVE_3D_SR, make_object, make_results

ONE, TWO = Stored("1.1", "2.1"), Stored("1.1", "2.2")


def answer(status: int, stored: list[Stored], failed: list[Failed]) -> httpx.Response:
    """Make an archive's answer."""
    return httpx.Response(status, json=build_stow_answer(stored, failed))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (answer(200, [ONE, TWO], []), None),
        (answer(200, [ONE], []), TryAgain),
        (answer(202, [ONE], [Failed(0x0111, "1.1", "2.2")]), None),
        (answer(202, [ONE], [Failed(0xA700, "1.1", "2.2")]), TryAgain),
        (answer(202, [ONE], [Failed(0xA900, "1.1", "2.2")]), GiveUp),
        (answer(409, [], [Failed(0x0122, "1.1", "2.1"), Failed(0xA700, "1.1", "2.2")]), TryAgain),
        (answer(409, [], [Failed(0x0122, "1.1", "2.1"), Failed(0x0122, "1.1", "2.2")]), GiveUp),
        (httpx.Response(200, text="<html>"), TryAgain),
        (httpx.Response(200, json=[1]), TryAgain),
        (httpx.Response(200, json={}), TryAgain),
        (httpx.Response(503), TryAgain),
        (httpx.Response(401), TryAgain),
        (httpx.Response(404), TryAgain),
        (httpx.Response(415), GiveUp),
    ],
    ids=[
        "all listed",
        "one missing",
        "already there",
        "full",
        "refused",
        "one may work later",
        "class refused",
        "no json",
        "other json",
        "empty",
        "away",
        "credentials",
        "address",
        "media type",
    ],
)
def test_only_what_is_listed_counts_as_stored(response: httpx.Response, expected: Any) -> None:
    """An archive has an object only if its answer says so, instance by instance."""
    judged = judge_answer(response, {"2.1", "2.2"})
    assert judged is None if expected is None else isinstance(judged, expected)


@pytest.mark.parametrize(
    ("told", "kind", "reason"),
    [
        (problem(429, "queue-full", Retry_After="7"), TryAgain, "service-queue-full"),
        (problem(503, "not-ready"), TryAgain, "service-not-ready"),
        (problem(504, "deadline-exceeded"), TryAgain, "service-deadline-exceeded"),
        ((502, {}, b"<html>Jane"), TryAgain, "service-502"),
        ((200, {"Content-Type": "text/html"}, b"hello"), TryAgain, "service-answer-not-understood"),
        (problem(422, "unreadable-image"), GiveUp, "service-unreadable-image"),
        (problem(404, "unknown-model"), GiveUp, "service-unknown-model"),
        (problem(422, "Jane Canary!"), GiveUp, "service-422"),
    ],
    ids=["full", "starting", "late", "proxy", "no dicom", "refused", "misconfigured", "odd"],
)
def test_answers_of_the_service(
    fake_service: FakeService, told: Any, kind: type, reason: str
) -> None:
    """Passing states are tried again; what stays is given up; reasons are constants."""
    fake_service.script = lambda number: told
    analysis = Analysis(fake_service.url, 5)
    judged = analysis.analyse(make_object())
    analysis.close()
    assert isinstance(judged, kind)
    assert judged.reason == reason  # type: ignore[union-attr]
    if isinstance(judged, GiveUp):
        assert judged.is_of_object == (told[0] == 422)


def test_report_without_a_picture_where_there_are_no_heatmaps(fake_service: FakeService) -> None:
    """The service shows none, or none of this model: that is no reason to report nothing."""
    fake_service.script = lambda number: problem(501, "explain-disabled") if number == 1 else None
    analysis = Analysis(fake_service.url, 5, model="small_cnn")
    made = analysis.analyse(make_object())
    analysis.close()
    assert isinstance(made, list)
    assert [dcmread(io.BytesIO(one)).SOPClassUID for one in made] == [COMPREHENSIVE_3D_SR]


def test_service_that_is_away_is_tried_again(fake_service: FakeService) -> None:
    """A restart of the service is a passing state."""
    fake_service.stop()
    analysis = Analysis(fake_service.url, 2)
    assert analysis.analyse(make_object()) == TryAgain("service-unreachable")
    fake_service.start()
    assert analysis.analyse(make_object(instance="1.5")) == make_results("1.5")
    analysis.close()


def test_waits_grow_and_are_no_shorter_than_asked_for() -> None:
    """Exponential with jitter up to the longest, and Retry-After is honoured."""
    retry = endless_retry(1.0, 60.0)
    assert 0.5 <= delay_s(retry, 1, TryAgain("x")) <= 1.5
    assert 4 <= delay_s(retry, 4, TryAgain("x")) <= 12
    assert delay_s(retry, 10_000, TryAgain("x")) == 60
    for status in (429, 503, 504):
        asked = TryAgain("x", httpx.Response(status, headers={"Retry-After": "30"}))
        assert delay_s(retry, 1, asked) == 30
    at_once = TryAgain("x", httpx.Response(503, headers={"Retry-After": "0"}))
    assert delay_s(retry, 1, at_once) >= 0.5


def test_results_reach_an_archive(archive: FakeArchive) -> None:
    """Both objects in one request, with the destination's credentials."""
    [destination] = parse_destinations(f"pacs={archive.url.replace('//', '//me:secret@')}/")
    assert "secret" not in repr(destination)
    sender = StowSender(destination, 5)
    assert sender.send(make_results("1.5")) is None
    assert archive.arrivals == ["1.5.1", "1.5.2"]
    archive.stop()
    assert sender.send(make_results("1.5")) == TryAgain("archive-unreachable")
    sender.close()


@given(
    parts=st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    cut=st.integers(1, 50),
)
def test_multipart_survives_any_division(parts: list[bytes], cut: int) -> None:
    """What is built is read back, however it is cut on its way."""
    content_type, body = build_related(parts)
    assert split_related(content_type, body) == parts
    read: list[bytearray] = []
    parser = RelatedParser(
        content_type,
        on_begin=lambda: read.append(bytearray()),
        on_data=lambda data: read[-1].extend(data),  # noqa: PLW0108 - of the part at that time
        on_end=lambda: None,
        max_part_bytes=200,
    )
    for i in range(0, len(body), cut):
        parser.write(body[i : i + cut])
    parser.finish()
    assert read == parts


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        ("application/dicom", InvalidRequestError),
        ("multipart/related", InvalidRequestError),
        ('multipart/related; type="application/dicom+json"; boundary=b', InvalidRequestError),
        ("multipart/form-data; boundary=b", InvalidRequestError),
    ],
)
def test_other_bodies_are_refused(content_type: str, error: type[Exception]) -> None:
    """Only Part 10 files in multipart/related are read."""
    with pytest.raises(error):
        split_related(content_type, b"--b\r\n\r\nx\r\n--b--\r\n")


def test_cut_and_oversized_bodies_are_refused() -> None:
    """A body that ends early may have lost an object."""
    content_type, body = build_related([b"a" * 100])
    with pytest.raises(InvalidRequestError):
        split_related(content_type, body[:-10])
    parser = RelatedParser(
        content_type,
        on_begin=lambda: None,
        on_data=lambda data: None,
        on_end=lambda: None,
        max_part_bytes=99,
    )
    with pytest.raises(PayloadTooLargeError):
        parser.write(body)


@pytest.mark.parametrize(
    "text",
    [
        "pacs",
        "pacs=ftp://a",
        "a b=http://x",
        "p=http://x p=http://y",
        "p=dicom://host:1",
        "=http://x",
    ],
)
def test_malformed_destinations_are_refused(text: str) -> None:
    """At start, not at the first delivery."""
    with pytest.raises(ValueError, match="destination"):
        parse_destinations(text)


def test_addresses_are_read() -> None:
    """Archives by DICOMweb and DIMSE, and peers with what is known of them."""
    stow, dimse = parse_destinations("a=https://u:p@h/dicom-web b=dicom://PACS@10.0.0.1")
    assert (stow.kind, stow.url) == ("stow", "https://u:p@h/dicom-web")
    assert (dimse.kind, dimse.ae_title, dimse.host, dimse.port) == (
        "dimse",
        "PACS",
        "10.0.0.1",
        104,
    )
    one, two = parse_peers("CR1 PACS@10.0.0.9:11112")
    assert (one.host, two.host, two.port) == ("", "10.0.0.9", 11112)
