"""Storage commitment is given to what is kept, and to nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from service.gateway.destinations import Peer
from service.gateway.dimse.association import IdleAssociations
from service.gateway.receive.commitment import Commitment
from service.gateway.store.commitment_reports import CommitmentReports
from service.gateway.store.inbox import Inbox
from tests.gateway.conftest import Box
from tests.gateway.objects import make_object

DATA = make_object(instance="1.5")


def flip(file: Path) -> None:
    """Change one bit in the middle of the pixels."""
    data = bytearray(file.read_bytes())
    data[-200] ^= 1
    file.write_bytes(bytes(data))


def cut(file: Path) -> None:
    """Lose the last byte."""
    file.write_bytes(file.read_bytes()[:-1])


def lock(file: Path) -> None:
    """Put a folder in its place, which cannot be read as a file."""
    file.unlink()
    file.mkdir()


HARMS: dict[str, Callable[[Path], Any]] = {
    "gone": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut": cut,
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "a bit": flip,
    "another object": lambda file: file.write_bytes(make_object(instance="1.6")),
    "unreadable": lock,
}


def keeps(inbox: Inbox, instance: str = "1.5") -> bool:
    """Ask for commitment to one instance."""
    return inbox.keeps(instance, ComputedRadiographyImageStorage)


def test_what_is_kept_is_committed_to(box: Box) -> None:
    """By instance and class; and not what never came."""
    box.receive(DATA)
    assert keeps(box.inbox)
    assert not keeps(box.inbox, "1.6")
    assert not box.inbox.keeps("1.5", "1.2.3")


@pytest.mark.parametrize("name", HARMS)
def test_what_is_not_kept_as_it_came_is_not(box: Box, name: str) -> None:
    """Whatever the inbox remembers of it."""
    box.receive(DATA)
    [file] = box.spool.names(0)
    HARMS[name](box.spool.folder / "objects" / file)
    assert not keeps(box.inbox)


def test_what_was_delivered_and_deleted_is_not(box: Box) -> None:
    """The gateway is no archive: a modality must not take it for one."""
    box.receive(DATA)
    box.analyse_next()
    for _ in range(2):
        way = box.outbox.lease()
        assert way is not None
        box.outbox.delivered(way)
    assert keeps(box.inbox)
    box.ledger.forget_bytes(1)
    assert not keeps(box.inbox)


def test_all_contents_of_a_uid_have_to_be_kept(box: Box) -> None:
    """Which of them is meant, the request does not say."""
    box.receive(DATA)
    box.receive(make_object(instance="1.5", PatientID="other"))
    assert keeps(box.inbox)
    box.spool.remove(box.spool.names(0)[0])
    assert not keeps(box.inbox)


def test_an_instance_is_read_once_a_request(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is named, the answer names it as often."""
    box.receive(DATA)
    asked = []
    monkeypatch.setattr(box.inbox, "keeps", lambda *one: bool(asked.append(one)) or True)
    reports = CommitmentReports(box.orphans._database, box.inbox._leasing)
    commitment = Commitment(box.inbox, reports, IdleAssociations(), [Peer("CR1", "", 1)])
    item = Dataset()
    item.ReferencedSOPClassUID = ComputedRadiographyImageStorage
    item.ReferencedSOPInstanceUID = "1.5"
    request = Dataset()
    request.ReferencedSOPSequence = [item] * 500
    assert len(commitment._look_up(request)) == 500
    assert asked == [("1.5", ComputedRadiographyImageStorage)]
