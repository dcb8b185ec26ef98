"""The siege: its verdicts, its hostile inputs, and one attack on the real process."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from imagecodecs import brotli_decode

from benchmarks.child import MeasureError
from benchmarks.connection import Target
from benchmarks.report import BEGIN, END, SIEGE, insert
from benchmarks.siege import watch
from benchmarks.siege.arena import Arena
from benchmarks.siege.clients import ask, fetch, head, post
from benchmarks.siege.fakes import Archive, Exchange, Fake, read_all
from benchmarks.siege.made import answers, dicom, pictures
from benchmarks.siege.measure import Cost
from benchmarks.siege.page import render, size
from benchmarks.siege.row import MIB, Bars, Row, Sighting, misses
from benchmarks.siege.rows.files import PARSED, attack_with
from benchmarks.siege.run import ROWS, attack, choose
from benchmarks.siege.stow import SOP_INSTANCE, related, split, stored, uid_of
from cxr.images.decoding import DecodeOptions, decode_image
from tests.service.make_bundle import make_bundle

pytestmark = pytest.mark.xdist_group("waits")

HELD = Bars(cpu_s=0.1, memory_mib=64, statuses=("413", "422"))


def sighting(**seen: Any) -> Sighting:
    """One of an attack that was contained, but for what is given."""
    contained = {"answers": ["413 payload-too-large"], "cpu_s": 0.1, "memory_bytes": 64 * MIB}
    return Sighting(**{**contained, "live_ms": 100.0, "facts": {"alive": True}, **seen})


@pytest.mark.parametrize(
    ("seen", "missed"),
    [
        ({}, ""),
        ({"cpu_s": 0.11}, "CPU"),
        ({"memory_bytes": 65 * MIB}, "memory"),
        ({"live_ms": 101.0}, "/health/live"),
        ({"live_ms": None, "cpu_s": None, "memory_bytes": None}, ""),
        ({"asked": 9, "failed": 1}, "1 failed"),
        ({"asked": 9, "slow": 1}, "1 slow"),
        ({"answers": ["413 x", "504 deadline-exceeded"]}, "504"),
        ({"answers": ["silent after 25 s"]}, "silent"),
        ({"answers": []}, "nothing"),
        ({"facts": {"alive": False}}, "not alive"),
    ],
)
def test_each_bar_can_be_missed(seen: dict[str, Any], missed: str) -> None:
    """A bar itself is met; what was not measured is held against nothing."""
    found = misses(HELD, sighting(**seen))
    assert len(found) == bool(missed)
    assert missed in "".join(found)


def test_rows_are_chosen_by_key_and_family() -> None:
    """All without a wish; a wish for what there is not is told."""
    assert choose([]) == list(ROWS)
    assert len({row.key for row in ROWS}) == len(ROWS)
    assert [row.key for row in choose(["trailers"])] == ["trailers"]
    assert {row.family for row in choose(["DIMSE"])} == {"DIMSE"}
    with pytest.raises(MeasureError, match="nosuch"):
        choose(["trailers", "nosuch"])


def result(row: Row, seen: Sighting) -> dict[str, Any]:
    return {
        "key": row.key,
        "family": row.family,
        "title": row.title,
        "seconds": 1.0,
        "seen": seen.as_json(),
        "misses": misses(HELD, seen),
    }


def test_table_names_what_was_missed() -> None:
    """Equal answers are counted, and a missed bar stands in its row and below the table."""
    machine = {"cpu": "C", "cores": 2, "memory_gib": 8, "system": "S", "python": "3"}
    machine |= {"versions": {"numpy": "2"}, "commit": "abc", "at": "now"}
    good = sighting(sent_bytes=26_400, answers=["413 x"] * 3, is_alone=True)
    bad = sighting(live_ms=250.0, notes=["late"], answers=["413 x"])
    rows = [result(ROWS[0], good), result(ROWS[1], bad)]
    page = render({"machine": machine, "rows": rows})
    table = page.splitlines()
    assert "26.4 kB | 3 x 413 x | 0.10 | +64 | 100 |" in table[2]
    assert table[2].endswith("met |")
    assert "(0.1)" in table[3]
    assert table[3].endswith("**missed** |")
    assert f"- {ROWS[1].key}: /health/live 250 ms, bar 100 ms (late)" in page
    page = insert(SIEGE.read_text(), page, "siege")
    assert page.index(BEGIN.format(what="siege")) < page.index(END.format(what="siege"))


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, ""), (140, "140 B"), (26_417, "26.4 kB"), (20_000_716, "20 MB"), (3 << 30, "3.22 GB")],
)
def test_sizes_are_for_people(count: int, said: str) -> None:
    """Three digits that count."""
    assert size(count) == said


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def depth_of(ds: pydicom.Dataset) -> int:
    """How many sequences stand in one another."""
    inner = ds.get("ReferencedImageSequence")
    return 1 + depth_of(inner[0]) if inner else 0


@pytest.mark.parametrize("syntax", [dicom.DEFLATED, dicom.EXPLICIT])
def test_dicom_is_as_big_as_it_claims(syntax: str) -> None:
    """In the few sizes a library reads at ease, each object is what its name says, and sound."""
    assert len(read(dicom.empty_items(7, syntax)).ReferencedImageSequence) == 7
    assert len(read(dicom.plain_elements(70_000, syntax))) - len(read(dicom.radiograph())) == 70_000
    assert depth_of(read(dicom.nested_sequences(7, syntax))) == 7
    assert len(read(dicom.window_values(7)).WindowCenter) == 7
    assert decode_image(dicom.empty_items(7, syntax), DecodeOptions()).width == dicom.COLUMNS


@pytest.mark.parametrize(
    ("make", "inflated_bytes"),
    [
        (lambda: dicom.empty_items(2_000_000), 16_000_000),
        (lambda: dicom.repeated_element(18_000_000), 144_000_000),
        (lambda: dicom.nested_sequences(100_000), 3_600_000),
    ],
    ids=["items", "repeated", "nested"],
)
def test_deflated_dicom_is_small(make: Callable[[], bytes], inflated_bytes: int) -> None:
    """What is sent is a hundredth of what a reader meets."""
    data = make()
    begin = 128 + 4 + 12 + int.from_bytes(data[140:144], "little")
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    found = len(inflating.decompress(data[begin:], inflated_bytes))
    assert found == inflated_bytes
    assert inflating.unconsumed_tail  # pixels and more are still to come
    assert len(data) < inflated_bytes / 100


def test_pictures_are_what_they_claim() -> None:
    """They are sound, so that a reader without bounds reads them to the end."""
    for interlaced in (False, True):
        png = pictures.flat_png(63, pictures.RGBA, interlaced=interlaced)
        decoded = decode_image(png, DecodeOptions())
        assert (decoded.width, decoded.height) == (63, 63)
    jpeg = pictures.many_scans(30, 1100)
    assert jpeg.count(b"\xff\xda") == 31
    assert decode_image(jpeg, DecodeOptions()).width == 1100
    assert decode_image(dicom.in_dicom(jpeg, 1100), DecodeOptions()).width == 1100
    whole = dicom.long_rle(512 * 512 // 64)
    assert decode_image(whole, DecodeOptions()).width == 512
    assert len(dicom.long_rle(20_000_000)) > 20_000_000


def test_answers_are_what_they_claim() -> None:
    """Small on the wire; the length of what they stand for is exact."""
    assert brotli_decode(answers.brotli_bomb(64 * MIB)) == bytes(64 * MIB)
    assert len(answers.brotli_bomb(3_000_000_000)) < 3000
    assert zlib.decompress(answers.gzip_bomb(4 * MIB), 31) == bytes(4 * MIB)
    assert answers.deep_json(3) == b"[[[]]]"
    assert sum(map(len, answers.endless_json(4 * MIB))) > 4 * MIB


def test_cost_is_that_of_the_moment() -> None:
    """CPU and peak count from the beginning, and a process that ended keeps what it cost."""
    spend = "x = bytearray(100_000_000)\nfor i in range(6_000_000): pass\ndel x\ninput()\ninput()"
    process = subprocess.Popen([sys.executable, "-c", "input()\n" + spend], stdin=subprocess.PIPE)
    assert process.stdin is not None
    with process, Cost(process.pid) as cost:
        process.stdin.write(b"\n")
        process.stdin.flush()
        end_s = time.monotonic() + 30
        while cost.memory_bytes < 90 * MIB and time.monotonic() < end_s:
            time.sleep(0.01)
            cost.read()
        with Cost(process.pid) as later:
            process.stdin.write(b"\n\n")
            process.stdin.flush()
            process.wait(30)
    assert cost.memory_bytes > 90 * MIB
    assert cost.cpu_s > 0
    assert later.memory_bytes < 50 * MIB


def close(exchange: Exchange, body: bytes) -> None:
    exchange.close_connection = True


@pytest.mark.parametrize(
    ("behave", "to_the_end", "said"),
    [
        (lambda exchange, body: exchange.give(200, b"{}"), False, "200"),
        (lambda exchange, body: exchange.give(200, b"{}"), True, "200, then left open"),
        (lambda exchange, body: exchange.hang(), False, "silent after 0 s"),
        (close, False, "closed after 0 s"),
    ],
    ids=["answered", "left open", "silent", "closed"],
)
def test_ends_of_requests_are_told_apart(
    behave: Callable[[Exchange, bytes], None], to_the_end: bool, said: str
) -> None:
    """An answer, a closed connection and silence are not the same."""
    with Fake(behave) as fake:
        target = Target("127.0.0.1", fake.port)
        assert str(ask(target, [head(target, "GET")], 0.4, to_the_end=to_the_end)) == said
    assert "not connected" in str(fetch(target, 0.4))


def test_fakes_read_and_store() -> None:
    """The service gives two objects for one, and the archive lists what it was given."""
    source = dicom.radiograph(instance="1.2.3")
    with Fake(read_all) as service, Archive() as archive:
        reply = post(Target("127.0.0.1", service.port), source, 5.0)
        assert reply.answer is not None
        kind = reply.answer.head.partition(b"content-type: ")[2].partition(b"\r\n")[0].decode()
        made = split(kind, reply.answer.body)
        assert [uid_of(one, SOP_INSTANCE) for one in made] == ["1.2.3.1", "1.2.3.2"]
        kind, body = related(made)
        reply = post(Target("127.0.0.1", archive.port), body, 5.0, Content_Type=kind)
        assert reply.answer is not None
        assert reply.answer.body == stored(made)
        assert len(archive.studies) == 2


def test_attack_on_the_real_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound picture is no attack: answered, cheap, and nobody else notices."""
    monkeypatch.setattr(watch, "CALM_S", 0.3)
    monkeypatch.setattr(watch, "SETTLE_S", 0.3)
    make_bundle(tmp_path, "resnet18")
    bars = Bars(cpu_s=5.0, memory_mib=200, live_ms=20_000, slow_s=20.0, statuses=("200",))
    row = Row("sound", "files", "a sound picture", attack_with(pictures.sound_jpeg, bars), bars)
    with Arena(tmp_path, "resnet18", 4 << 30, 10.0, {}) as arena:
        done = attack(arena, row)
        refused = attack(arena, Row("held", "files", "", attack_with(bytes, PARSED), HELD))
    seen = done["seen"]
    assert done["misses"] == []
    assert set(seen["answers"]) == {"200"}
    assert seen["asked"] > 0
    assert seen["live_ms"] > 0
    assert seen["cpu_s"] < 5  # one picture may take less than a tick of the clock
    assert refused["misses"], "an empty body is refused with another status"
