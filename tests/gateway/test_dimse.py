"""C-STORE that goes to disk as it comes: too large, cut off, and not stored at all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    ComputedRadiographyImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from service.gateway.dimse.association import close_rejected
from service.gateway.dimse.messages import MAX_DATA_SET_BYTES
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess, until

Start = Callable[..., GatewayProcess]

LARGE = make_object(side=1024)


@pytest.fixture
def associate() -> Iterator[Callable[[GatewayProcess], Association]]:
    """Open associations with a gateway."""
    opened = []

    def associate(gateway: GatewayProcess) -> Association:
        entity = AE("CR1")
        entity.add_requested_context(ComputedRadiographyImageStorage, "1.2.840.10008.1.2.1")
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate("127.0.0.1", gateway.dimse_port, ae_title="CXRGATEWAY")
        assert association.is_established
        opened.append(association)
        return association

    yield associate
    for association in opened:
        if association.is_established:
            association.release()
        close_rejected(association)  # likewise one that was aborted


def in_spool(folder: Path) -> list[str]:
    """Give what lies in the spool, received and half received."""
    return [path.name for name in ("incoming", "objects") for path in (folder / name).iterdir()]


def test_too_large_an_object_is_refused_for_good(
    start_gateway: Start, associate: Callable[[GatewayProcess], Association], tmp_path: Path
) -> None:
    """C000, counted; nothing of it stays, and the next on the association is taken."""
    gateway = start_gateway(max_instance_bytes=1_000_000)
    association = associate(gateway)
    assert association.send_c_store(dcmread(io.BytesIO(LARGE))).Status == 0xC000
    assert not in_spool(tmp_path / "spool")
    assert association.send_c_store(dcmread(io.BytesIO(make_object()))).Status == 0
    metrics = httpx.get(f"{gateway.url}/metrics").text
    assert 'channel="dimse",outcome="refused"} 1' in metrics
    assert [job["channel"] for job in gateway.jobs()] == ["dimse"]


def test_what_is_cut_off_is_removed(
    start_gateway: Start, associate: Callable[[GatewayProcess], Association], tmp_path: Path
) -> None:
    """A sender that goes away in the middle leaves no file and no job."""
    gateway = start_gateway()
    association = associate(gateway)
    sock = association.dul.socket
    assert sock is not None
    association.dimse_timeout = 1
    send, sent = sock.send, 0

    def send_half(data: bytes) -> None:
        nonlocal sent
        sent += len(data)
        if sent < len(LARGE) // 2 or len(data) < 100:  # the abort that follows is short
            send(data)

    sock.send = send_half  # type: ignore[method-assign]
    association.send_c_store(dcmread(io.BytesIO(LARGE)))
    assert association.is_aborted
    until(lambda: not in_spool(tmp_path / "spool"), 20)
    assert gateway.jobs() == []


def test_large_data_that_is_not_stored_ends_the_association(
    start_gateway: Start, associate: Callable[[GatewayProcess], Association]
) -> None:
    """Memory is bounded for every message, not only for C-STORE."""
    gateway = start_gateway(dimse_peers="CR1@127.0.0.1:1")
    association = associate(gateway)
    request = Dataset()
    request.TransactionUID = "1.2.3"
    request.EncapsulatedDocument = bytes(MAX_DATA_SET_BYTES + 2)
    association.send_n_action(
        request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    until(lambda: association.is_aborted, 20)
    assert httpx.get(f"{gateway.url}/health/ready").status_code == 200


def test_object_is_written_while_it_comes(
    start_gateway: Start, associate: Callable[[GatewayProcess], Association], tmp_path: Path
) -> None:
    """Its first half is on disk before its second is sent; the file is the sender's object."""
    gateway = start_gateway(keep_done_h=1)
    association = associate(gateway)
    sock = association.dul.socket
    assert sock is not None
    send, seen, sent = sock.send, [], 0

    def watch(data: bytes) -> None:
        nonlocal sent
        send(data)
        sent += len(data)
        if sent > len(LARGE) // 2 and not seen:
            incoming = tmp_path / "spool" / "incoming"
            until(lambda: any(path.stat().st_size > 100_000 for path in incoming.iterdir()), 10)
            seen.append(sent)

    sock.send = watch  # type: ignore[method-assign]
    assert association.send_c_store(dcmread(io.BytesIO(LARGE))).Status == 0
    assert seen[0] < len(LARGE)
    until(lambda: gateway.jobs(state="done"))
    files = list((tmp_path / "spool" / "objects").iterdir())
    kept = max(files, key=lambda path: path.stat().st_size)
    assert dcmread(kept) == dcmread(io.BytesIO(LARGE))
