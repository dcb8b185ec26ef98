"""What a request to commit may cost: it is counted before it is parsed."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.gateway.destinations import Peer
from service.gateway.receive.commitment import (
    MAX_INSTANCES,
    PROCESSING_FAILURE,
    SUCCESS,
    Commitment,
)
from tests.cost import cost_of
from tests.hostile import DICOM_BOMBS, SYNTAXES, Encoding

UNCOMPRESSED = ("implicit", "explicit", "big endian")


class Event(SimpleNamespace):
    """What pynetdicom gives for an N-ACTION."""

    @property
    def action_information(self) -> Any:
        """Parse the data set; what is too much must not come so far."""
        if self.parsed is None:
            pytest.fail("it was parsed")
        return self.parsed


def make_event(information: bytes, encoding: Encoding, parsed: Any = None) -> Any:
    return Event(
        parsed=parsed,
        action_type=1,
        request=SimpleNamespace(ActionInformation=io.BytesIO(information)),
        context=SimpleNamespace(transfer_syntax=encoding.uid),
        assoc=SimpleNamespace(requestor=SimpleNamespace(ae_title="CR1", address="127.0.0.1")),
    )


def make_commitment() -> Commitment:
    nothing = cast("Any", SimpleNamespace(add=lambda *_: 1, hold=lambda *_: None))
    keeps = cast("Any", SimpleNamespace(keeps=lambda *_: True))
    return Commitment(keeps, nothing, nothing, [Peer("CR1", port=11112)])


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@pytest.mark.parametrize("name", DICOM_BOMBS)
def test_bomb_is_refused_unparsed(name: str, syntax: str) -> None:
    """Of four megabytes, which is what the association takes."""
    encoding = SYNTAXES[syntax]
    make, usual = DICOM_BOMBS[name]
    event = make_event(make(encoding, usual // 4), encoding)

    def act() -> None:
        assert make_commitment().on_action(event) == (PROCESSING_FAILURE, None)

    assert cost_of(act).cpu_s < 0.1


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_as_many_instances_as_are_committed_to_are_parsed(syntax: str) -> None:
    """Each with its class."""
    encoding = SYNTAXES[syntax]
    instance = encoding.item(
        encoding.element(0x00081150, "UI", b"1.2.840.10008.5.1.4.1.1.1")
        + encoding.element(0x00081155, "UI", b"2.25.123")
    )
    sequence = encoding.sequence(0x00081199, instance * MAX_INSTANCES)
    named = SimpleNamespace(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID="2.25.123")
    parsed = SimpleNamespace(TransactionUID="2.25.1", ReferencedSOPSequence=[named])
    data = encoding.element(0x00081195, "UI", b"2.25.1") + sequence
    event = make_event(data, encoding, parsed)
    assert make_commitment().on_action(event) == (SUCCESS, None)
