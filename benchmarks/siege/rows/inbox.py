"""What a gateway has confirmed and must not lose, mix up or vouch for wrongly."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.child import MeasureError
from benchmarks.server import free_port
from benchmarks.siege.arena import Arena, until
from benchmarks.siege.attacked import Attacked
from benchmarks.siege.clients import post
from benchmarks.siege.fakes import Archive, Exchange, Fake, read_all
from benchmarks.siege.made.dicom import DIGITAL_XRAY, ROOT, radiograph
from benchmarks.siege.row import Bars, Row, Sighting
from benchmarks.siege.rows.archives import new_objects
from benchmarks.siege.stow import SOP_INSTANCE, uid_of
from benchmarks.siege.watch import watching
from benchmarks.siege.watchers import AE_TITLE, OK, Honest

FAMILY = "inbox"
OBJECTS = 5
PEER = "SIEGE"
REPORT_S = 20.0
COMMITTED, FAILED = 1, 2
"""Event types of a report of storage commitment (PS3.4, J.3.3)."""

WARNINGS = frozenset({"warning", "error", "critical"})
USUAL = Bars(memory_mib=64)
REPORTS = Bars(memory_mib=64 + 2 * 64)
"""What makes reports is loaded by each worker at its first one."""

LEVELS = (0, 40)
TOLD = re.compile("stray|quarantin")  # metrics of files that no job knows
HEAD_BYTES = 1000


def attack_same_uid(arena: Arena) -> Sighting:
    """Send two objects with one SOP Instance UID and other pixels, to service and gateway."""
    pair = [radiograph(instance=f"{ROOT}.5.1", level=level) for level in LEVELS]
    with arena.folder() as folder, arena.gateway(folder) as gateway:
        gateway.send_objects(pair)
        jobs, told = len(gateway.jobs()), _warnings(gateway)
    with arena.shared_service() as server, watching(server, (), REPORTS) as seen:
        reports = [post(server.target, one, 30.0, Accept="application/dicom") for one in pair]
        seen.sent_bytes = sum(map(len, pair))
        seen.answers = [str(one) for one in reports] + [f"{jobs} jobs"] + told
        uids = [
            uid_of(one.answer.body, SOP_INSTANCE)
            for one in reports
            if one.status == OK and one.answer
        ]
        seen.facts["results with UIDs of their own"] = len(uids) == len(set(uids)) == len(pair)
        seen.facts["both objects kept"] = jobs == len(pair)
        seen.facts["the collision told"] = bool(told)
    return seen


def attack_emptied(arena: Arena) -> Sighting:
    """Empty the file of the inbox while the gateway is down, and start it again."""
    with arena.folder() as folder:
        with arena.gateway(folder) as gateway:
            objects = new_objects(OBJECTS)
            confirmed = sum(reply.status == OK for reply in gateway.send_objects(objects))
        for file in (folder / "spool").glob("inbox.sqlite3*"):
            file.unlink()
        (folder / "spool" / "inbox.sqlite3").touch()
        _cut_one(folder / "spool" / "objects")
        (folder / "log").write_text("")
        try:
            with (
                arena.gateway(folder) as gateway,
                watching(gateway, (Honest("health", gateway.port),), USUAL) as seen,
            ):
                told = _warnings(gateway)
                counted = {n: v for n, v in gateway.metrics().items() if TOLD.search(n) and v}
                seen.facts["counted, for an alert"] = bool(counted)
        except MeasureError as error:  # to refuse to start keeps everything, too
            seen, told = Sighting(), [str(error).strip().splitlines()[-1]]
        found = {file.read_bytes()[:HEAD_BYTES] for file in _files(folder / "spool")}
        kept = sum(one[:HEAD_BYTES] in found for one in objects)
        seen.sent_bytes = sum(map(len, objects))
        seen.answers = [f"{kept} of {confirmed} confirmed objects kept", *told]
        seen.facts["every confirmed object kept"] = kept == confirmed == OBJECTS
        seen.facts["told"] = bool(told)
    return seen


def _cut_one(objects: Path) -> None:
    """Leave only the half of an object: what cannot be taken up must be put aside."""
    file = min(objects.iterdir())
    os.truncate(file, file.stat().st_size // 2)


def attack_commitment(arena: Arena) -> Sighting:
    """Ask for storage commitment for objects whose bytes are gone, and for one that is kept."""
    delivered, removed, kept = new_objects(3)
    refused = uid_of(delivered, SOP_INSTANCE)
    names = {
        uid_of(one, SOP_INSTANCE): name
        for one, name in ((delivered, "delivered"), (removed, "removed"), (kept, "kept"))
    }

    def analyse(exchange: Exchange, body: bytes) -> None:
        # Only the one is analysed; the others wait, and so their bytes are kept.
        if uid_of(body, SOP_INSTANCE) == refused:
            read_all(exchange, body)
        else:
            exchange.give(503, b"{}")

    with ExitStack() as stack:
        folder = stack.enter_context(arena.folder())
        service, archive = stack.enter_context(Fake(analyse)), stack.enter_context(Archive())
        port = free_port()
        gateway = stack.enter_context(
            arena.gateway(
                folder,
                service_url=service.url,
                destinations=f"archive={archive.url}",
                dimse_peers=f"{PEER}@127.0.0.1:{port}",
            )
        )
        seen = stack.enter_context(watching(gateway, (Honest("health", gateway.port),), USUAL))
        gateway.send_objects([delivered, removed, kept])
        until(
            lambda: any(
                job.get("state") == "done" and not job["has_bytes"] for job in gateway.jobs()
            ),
            20.0,
        )
        for file in _files(folder / "spool" / "objects"):
            if uid_of(removed, SOP_INSTANCE).encode() in file.read_bytes():
                file.unlink()
        report = ask_commitment(gateway, port, list(names))
        seen.answers = [f"{names[uid]}: {said}" for uid, said in report.items()]
        for uid, name in names.items():
            right = "committed" if name == "kept" else "failed"
            seen.facts[f"{name} {right}"] = report.get(uid) == right
    return seen


def ask_commitment(gateway: Attacked, port: int, instances: list[str]) -> dict[str, str]:
    """Ask for storage commitment (PS3.4, Annex J), and give what is reported of each instance."""
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )

    reported: dict[str, str] = {}
    arrived = threading.Event()

    def take(event: Any) -> tuple[int, None]:
        information = event.event_information
        for keyword, said in (
            ("ReferencedSOPSequence", "committed"),
            ("FailedSOPSequence", "failed"),
        ):
            for one in information.get(keyword) or ():
                reported[str(one.ReferencedSOPInstanceUID)] = said
        arrived.set()
        return 0, None

    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, take)]
    request = Dataset()
    request.TransactionUID = generate_uid()
    request.ReferencedSOPSequence = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = DIGITAL_XRAY, instance
        request.ReferencedSOPSequence.append(item)
    with listening(port, handlers):
        entity = AE(PEER)
        entity.add_requested_context(StorageCommitmentPushModel)
        association = entity.associate("127.0.0.1", gateway.dimse_port, ae_title=AE_TITLE)
        if not association.is_established:
            return {}
        association.send_n_action(
            request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        association.release()
        arrived.wait(REPORT_S)
    return reported


@contextmanager
def listening(port: int, handlers: list[Any]) -> Iterator[None]:
    """Take reports of storage commitment on a port."""
    from pynetdicom import AE
    from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
        StorageCommitmentPushModel,
    )

    entity = AE(PEER)
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield
    finally:
        entity.shutdown()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _warnings(server: Attacked) -> list[str]:
    """Give what the log warns of, but for services and archives that are not there."""
    found = [line["event"] for line in server.events() if line.get("level") in WARNINGS]
    return sorted({event for event in found if "deliver" not in event and "analys" not in event})


ROWS = (
    Row("same-uid", FAMILY, "one SOP Instance UID with other pixels", attack_same_uid, REPORTS),
    Row("emptied-inbox", FAMILY, "an emptied file of the inbox", attack_emptied, USUAL),
    Row(
        "commitment-gone",
        FAMILY,
        "storage commitment for objects whose bytes are gone",
        attack_commitment,
        USUAL,
    ),
)
