"""Files that no job has: what was confirmed is never lost, whatever becomes of the database."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete, update

from service.dicom.equipment import MANUFACTURER
from service.errors import StartupError
from service.gateway.gateway import Gateway
from service.gateway.settings import DATABASE_FILE, GatewaySettings
from service.gateway.store.database import Database
from service.gateway.store.inbox import Result
from service.gateway.store.orphans import OrphanedFiles
from service.gateway.store.schema import deliveries, jobs, results
from service.multipart import build_related
from tests.gateway.conftest import Box, open_box
from tests.gateway.fakes import FakeArchive, FakeService
from tests.gateway.objects import COMPREHENSIVE_3D_SR, make_object
from tests.gateway.process import GatewayProcess, until

Start = Callable[..., GatewayProcess]


def database_of(box: Box) -> Database:
    """Give a box's database."""
    return box.orphans._database


def lose_rows(box: Box) -> None:
    """Empty the inbox, as somebody does who restores or replaces its file."""
    with database_of(box).transaction() as connection:
        for table in (deliveries, results, jobs):
            connection.execute(delete(table))


def files(box: Box) -> list[Path]:
    """Give all files of the spool."""
    return [path for path in box.spool.folder.rglob("*") if path.is_file()]


def test_objects_of_a_lost_inbox_are_taken_up_again(box: Box) -> None:
    """In their order, and under way at once."""
    sent = [make_object(instance=f"1.5.{number}") for number in range(3)]
    for age, data in enumerate(sent):
        box.receive(data)
        newest = box.spool.names(0)[-1]
        os.utime(box.spool.folder / "objects" / newest, (1000 + age, 1000 + age))
    lose_rows(box)
    assert box.orphans.sweep(0) == {"adopted": 3, "removed": 0}
    assert [entry.channel for entry in box.ledger.page(None, None, 9)] == ["spool"] * 3
    leased = [box.inbox.lease() for _ in sent]
    assert [one and box.spool.read(one.file) for one in leased] == sent
    assert box.orphans.sweep(0).total() == 0


def test_what_is_taken_up_is_the_same_job_for_its_sender(box: Box) -> None:
    """Who sends it again meanwhile makes no double."""
    data = make_object()
    box.receive(data)
    lose_rows(box)
    job_id, is_new = box.receive(data)
    assert is_new
    assert box.orphans.sweep(0)["removed"] == 1
    assert box.receive(data) == (job_id, False)
    assert len(box.spool.names(0)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"no DICOM", make_object()[:200], make_object(sop_class=COMPREHENSIVE_3D_SR)],
    ids=["empty", "no DICOM", "torn", "not to be analysed"],
)  # fmt: skip
def test_what_is_no_whole_object_is_put_aside(
    box: Box, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is removed, and it is told."""
    name = box.spool.write(content)
    assert box.orphans.sweep(0)["quarantined"] == 1
    assert (box.spool.folder / "quarantine" / name).read_bytes() == content
    assert box.spool.quarantined == 1
    assert "stray put aside" in caplog.text
    (box.spool.folder / "quarantine" / name).rename(box.spool.folder / "objects" / name)
    assert box.orphans.sweep(0)["quarantined"] == 1  # tried again once it is put back


def test_what_the_inbox_let_go_is_removed(box: Box) -> None:
    """A crash came between the row and the file, of object and result."""
    box.receive(make_object())
    box.analyse_next()
    with database_of(box).transaction() as connection:
        connection.execute(update(jobs).values(has_bytes=False))
    assert box.orphans.sweep(0) == {"removed": 2}
    assert files(box) == []


def test_what_is_under_way_is_no_stray(box: Box) -> None:
    """Nor is what is younger than a stray; half received files of dead senders go."""
    box.receive(make_object())
    box.analyse_next()
    kept = files(box)
    assert box.orphans.sweep(0) == {"removed": 0}
    box.spool.write(make_object())
    half = box.spool.stage()
    half.write(b"half")
    assert box.orphans.sweep(3600).total() == 0
    half.discard()
    assert set(kept) < set(files(box))


@pytest.mark.parametrize("is_named", [True, False], ids=["by its maker", "by its UID"])
def test_results_of_ours_are_removed(box: Box, is_named: bool) -> None:
    """They are made again of their objects, and never analysed themselves."""
    made = make_object(instance="1.7", Manufacturer=MANUFACTURER if is_named else "x")
    if not is_named:
        box.receive(make_object())
        job = box.inbox.lease()
        assert job is not None
        box.inbox.analysed(job, [Result(box.spool.write(made), "1.7", "1.2")])
    before = len(files(box))
    box.spool.write(made)
    assert box.orphans.sweep(0)["removed"] == 1
    assert len(files(box)) == before


@pytest.mark.parametrize("state", ["received", "dead"])
def test_a_job_without_its_file_gets_it_back(box: Box, state: str) -> None:
    """A database of yesterday names files of yesterday."""
    data = make_object()
    job_id, _ = box.receive(data)
    if state == "dead":
        job = box.inbox.lease()
        assert job is not None
        box.inbox.dead_letter(job, "bytes-missing")
    [name] = box.spool.names(0)
    (box.spool.folder / "objects" / name).rename(box.spool.folder / "objects" / ("a" * 32))
    assert box.orphans.sweep(0)["adopted"] == 1
    leased = box.inbox.lease()
    assert leased is not None
    assert (leased.id, box.spool.read(leased.file)) == (job_id, data)


def test_an_object_sent_again_replaces_lost_bytes(box: Box) -> None:
    """Its sender hears of success, and it is true."""
    data = make_object()
    job_id, _ = box.receive(data)
    for name in box.spool.names(0):
        box.spool.remove(name)
    assert box.receive(data) == (job_id, False)
    leased = box.inbox.lease()
    assert leased is not None
    assert box.spool.read(leased.file) == data


def test_a_file_that_cannot_be_read_stays(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are settled all the same."""
    bad, good = (box.spool.write(make_object()) for _ in range(2))
    opened = box.spool.opened

    def fail(name: str) -> object:
        if name == bad:
            raise OSError(5, "Input/output error")
        return opened(name)

    monkeypatch.setattr(box.spool, "opened", fail)
    assert box.orphans.sweep(0) == {"adopted": 1, "removed": 0}
    assert set(box.spool.names(0)) == {bad, good}


def test_purged_rows_take_their_files_first(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in between leaves the rows, which say that the rest may go."""
    box.receive(make_object())
    job = box.inbox.lease()
    assert job is not None
    box.inbox.dead_letter(job, "no")

    def crash(name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(box.spool, "remove", crash)
        with pytest.raises(KeyboardInterrupt):
            box.ledger.purge("dead", 0, rows=True)
    assert box.orphans.sweep(0) == {"removed": 1}
    assert box.ledger.purge("dead", 0, rows=True) == 1


def test_two_gateways_take_up_an_object_once(tmp_path: Path) -> None:
    """Each finds all strays; the second finds them known."""
    box, database = open_box(tmp_path)
    name = box.spool.write(make_object())
    other = OrphanedFiles(database, box.spool, box.orphans._signals)
    found = other.find(0)
    assert box.orphans.sweep(0)["adopted"] == 1
    assert other.settle(found) == {"kept": 1}
    assert box.spool.names(0) == [name]
    database.close()


def empty(file: Path) -> None:
    """Cut a file to nothing."""
    file.write_bytes(b"")


def replace(file: Path) -> None:
    """Put an inbox there that knows nothing."""
    file.unlink()
    database = Database(f"sqlite:///{file}")
    database.migrate()
    database.close()


@pytest.mark.parametrize("harm", [Path.unlink, empty, replace], ids=["lost", "emptied", "replaced"])
def test_confirmed_objects_outlive_the_inbox_file(
    start_gateway: Start,
    fake_service: FakeService,
    archive: FakeArchive,
    tmp_path: Path,
    harm: Callable[[Path], None],
) -> None:
    """They are analysed and delivered after all; metric and log say what happened."""
    fake_service.stop()
    gateway = start_gateway(dimse="off")
    with httpx.Client(trust_env=False) as client:
        content_type, body = build_related([make_object(instance=f"1.5.{n}") for n in range(3)])
        url, headers = f"{gateway.url}/dicomweb/studies", {"Content-Type": content_type}
        assert client.post(url, content=body, headers=headers).status_code == 200
        gateway.kill()
        for rest in ("-wal", "-shm"):
            (tmp_path / "spool" / (DATABASE_FILE + rest)).unlink(missing_ok=True)
        harm(tmp_path / "spool" / DATABASE_FILE)
        fake_service.start()
        gateway.start()
        until(lambda: len(archive.counts) == 6)
        page = client.get(f"{gateway.url}/metrics").text
    assert 'cxr_gateway_strays_total{outcome="adopted"} 3.0' in page
    assert "stray taken up" in (tmp_path / "log0").read_text()


def test_an_inbox_that_is_no_database_stops_the_start(tmp_path: Path) -> None:
    """With one line, and every file where it was."""
    settings = GatewaySettings(spool_dir=str(tmp_path), destinations="p=http://127.0.0.1:9")
    gateway = Gateway(settings)
    name = gateway.spool.write(make_object())
    gateway.database.close()
    (tmp_path / DATABASE_FILE).write_bytes(b"no database at all" * 1000)
    with pytest.raises(StartupError, match="database"):
        gateway.start()
    gateway.spool.unlock()
    assert gateway.spool.names(0) == [name]
