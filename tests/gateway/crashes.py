"""Radiographs through gateway, service and Orthanc while each is killed again and again."""

from __future__ import annotations

import io
import itertools
import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pynetdicom import AE
from pynetdicom.association import Association

from service.gateway.deliver.stow_answer import read_stow_answer
from service.gateway.dimse.association import close_rejected
from service.gateway.settings import GatewaySettings
from service.gateway.signals import Signals
from service.gateway.store.database import Database
from service.gateway.store.orphans import OrphanedFiles
from service.gateway.store.spool import Spool
from service.gateway.store.states import OPEN_STATES
from service.multipart import build_related
from tests.gateway.fakes import Answer, FakeServer, problem
from tests.gateway.objects import COMPREHENSIVE_3D_SR, encode
from tests.gateway.orthanc import DICOMWEB, PROGRAM, Orthanc, running_orthanc
from tests.gateway.process import GatewayProcess, gateway_environment, until
from tests.live import LiveServer, running_server

MODEL = "resnet18"
LONGEST_S = 120.0  # from one kill to the next, and from the last to the end
UNHEARD = 5  # of so many successes, senders do not hear of one
TIMEOUT_S = 8.0

ORTHANC_ABSENT = (
    ""
    if PROGRAM is not None and DICOMWEB.is_file()
    else "Orthanc is absent (apt-get install orthanc orthanc-dicomweb)"
)


@dataclass(frozen=True)
class Plan:
    """What shall happen.

    Attributes:
        instances: How many radiographs are sent.
        kills: How often each of gateway, service and Orthanc is killed, and started again.
        studies: Over how many studies the instances are spread; each has one sender.
        gateways: How many share the work; several need a PostgreSQL.
    """

    instances: int
    kills: int
    studies: int
    gateways: int = 1


@dataclass(frozen=True)
class Figures:
    """What happened.

    Attributes:
        instances: Sent until their senders heard of success.
        gateway_kills: With -9, of all gateways together.
        service_kills: Likewise.
        orthanc_kills: Likewise.
        busy: Answers that were 503 instead of the service's and of Orthanc's.
        sent_again: Tries of senders that did not hear of success.
        retries: Of analyses and deliveries, as the gateways logged them.
        repeated: Objects Orthanc confirmed once more.
        reports: SRs Orthanc has in the end.
        captures: SCs Orthanc has in the end.
        lost: Instances without an SR or without an SC.
        doubled: SRs and SCs beyond the first of an instance.
        out_of_order: Results that came before those of an earlier instance of their study.
        undone: How many instances there are more than jobs that are done.
        strays: Files of no job that crashes left, and the sweep has removed.
        left: Files in the spool after that.
        duration_s: From the first instance sent to the last result.
    """

    instances: int
    gateway_kills: int
    service_kills: int
    orthanc_kills: int
    busy: int
    sent_again: int
    retries: int
    repeated: int
    reports: int
    captures: int
    lost: int
    doubled: int
    out_of_order: int
    undone: int
    strays: int
    left: int
    duration_s: float

    @property
    def is_sound(self) -> bool:
        """Whether each instance has exactly one SR and one SC, in order, and nothing is left."""
        wrong = (self.lost, self.doubled, self.out_of_order, self.undone, self.left)
        return not any(wrong) and self.reports == self.captures == self.instances


class Mortal(Protocol):
    """What can be killed and started again."""

    @property
    def process(self) -> subprocess.Popen[Any] | None:
        """Its process; None while it is dead."""

    def kill(self) -> None:
        """End it as a power cut would."""

    def start(self) -> None:
        """Start it again, and wait until it is ready."""


class Relay(FakeServer):
    """Passes requests on to a server that may be dead, and refuses half of them in a phase.

    Args:
        upstream: The server.
        on_success: Told of each good answer before it is passed back.
    """

    def __init__(self, upstream: str, on_success: Callable[[httpx.Response], object]) -> None:
        self._http = httpx.Client(base_url=upstream, timeout=60, trust_env=False)
        self._on_success = on_success
        self.refused = 0
        self.is_refusing = False
        super().__init__()
        self.script = self._refuse_half

    def _refuse_half(self, number: int) -> Answer | None:
        if not self.is_refusing or number % 2:
            return None
        self.refused += 1
        return problem(503, "not-ready", Retry_After="1")

    def answer(self, path: str, headers: Any, body: bytes) -> Answer:
        """Give the server's answer; if it is dead, the connection is closed without one."""
        kept = {name: headers[name] for name in ("accept", "content-type") if headers[name]}
        response = self._http.post(path, content=body, headers=kept)
        if response.is_success:
            self._on_success(response)
        return (
            response.status_code,
            {name: response.headers[name] for name in ("content-type", "retry-after")
             if name in response.headers},
            response.content,
        )  # fmt: skip

    def stop(self) -> None:
        """Close the port and the connections."""
        super().stop()
        self._http.close()


class Arrivals:
    """What Orthanc confirmed to have stored, in the order in which it did. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def note(self, response: httpx.Response) -> None:
        """Take one of its answers to STOW-RS."""
        stored, _ = read_stow_answer(response.content)
        with self._lock:
            self.counts.update(sorted(stored))

    @property
    def instances(self) -> int:
        """How many sources have both results."""
        with self._lock:
            return len(self.counts) // 2


@dataclass(frozen=True)
class Source:
    """One radiograph to send."""

    study: str
    instance: str
    number: int

    def build(self, golden: Dataset) -> Dataset:
        """Make it from a golden one: other UIDs, slightly other pixels."""
        ds = dcmread(io.BytesIO(encode(golden, golden.file_meta.TransferSyntaxUID)))
        ds.StudyInstanceUID, ds.SeriesInstanceUID = self.study, f"{self.study}.1"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = self.instance
        pixels = golden.pixel_array.copy()
        pixels[:4, :4] = self.number
        ds.PixelData = pixels.tobytes()
        return ds


class Sender(threading.Thread):
    """Sends radiographs one after the other, each until it hears of success, as a modality does.

    Some successes are not heard, as if the answer was lost.

    Args:
        sources: In their order.
        golden: What they are made from.
        gateways: Asked in turn.
        may_send: Whether the next may be sent: the killings shall find work under way.
    """

    def __init__(
        self,
        sources: list[Source],
        golden: Dataset,
        gateways: list[GatewayProcess],
        may_send: Callable[[], bool],
    ) -> None:
        super().__init__(daemon=True)
        self._sources = sources
        self._golden = golden
        self._gateways = gateways
        self._may_send = may_send
        self.sent = 0
        self.sent_again = 0

    def run(self) -> None:
        """Send all of them."""
        for number, source in enumerate(self._sources):
            until(self._may_send, LONGEST_S)
            ds = source.build(self._golden)
            is_heard = number % UNHEARD > 0
            for gateway in itertools.islice(itertools.cycle(self._gateways), number % 2, None):
                if self.send(ds, gateway):
                    if is_heard:
                        break
                    is_heard = True
                self.sent_again += 1
                time.sleep(0.1)
            self.sent += 1
        self.close()

    def send(self, ds: Dataset, gateway: GatewayProcess) -> bool:
        """Try once; give whether it was confirmed."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open."""


class StowRsSender(Sender):
    """Sends by STOW-RS."""

    def send(self, ds: Dataset, gateway: GatewayProcess) -> bool:
        """Try once; give whether it was confirmed."""
        content_type, body = build_related([encode(ds, ds.file_meta.TransferSyntaxUID)])
        url, headers = f"{gateway.url}/dicomweb/studies", {"Content-Type": content_type}
        try:
            answer = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT_S)
        except httpx.TransportError:
            return False
        return answer.status_code == 200


class CStoreSender(Sender):
    """Sends by C-STORE, over associations that are kept open."""

    _associations: dict[int, Association]

    def send(self, ds: Dataset, gateway: GatewayProcess) -> bool:
        """Try once; give whether it was confirmed."""
        self.__dict__.setdefault("_associations", {})
        association = self._associations.get(gateway.dimse_port)
        if association is None or not association.is_established:
            if association is not None:
                close_rejected(association)  # likewise one that was cut off
            entity = AE("CR1")
            entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
            entity.connection_timeout = TIMEOUT_S
            entity.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
            association = entity.associate("127.0.0.1", gateway.dimse_port, ae_title="CXRGATEWAY")
            if not association.is_established:
                close_rejected(association)
                return False
            self._associations[gateway.dimse_port] = association
        try:
            return association.send_c_store(ds).get("Status") == 0
        except (RuntimeError, ValueError):  # it was cut in the meantime
            return False

    def close(self) -> None:
        """Release the associations."""
        for association in self._associations.values():
            if association.is_established:
                association.release()
            close_rejected(association)


@contextmanager
def running_gateways(
    folder: Path, plan: Plan, service_url: str, archive_url: str, database_url: str
) -> Iterator[list[GatewayProcess]]:
    """Start gateways with one spool; their logs are ``gateway*.log``."""
    gateways = []
    try:
        for i in range(plan.gateways):
            environment = gateway_environment(
                folder / "spool",
                service_url=service_url,
                destinations=f"pacs={archive_url}/dicom-web",
                database_url=database_url,
                model=MODEL,
                retry_base_s=0.2,
                retry_longest_s=2,
                analysis_timeout_s=TIMEOUT_S,
                delivery_timeout_s=TIMEOUT_S,
                lease_s=1.5 * TIMEOUT_S,
            )
            gateways.append(GatewayProcess(environment, folder / f"gateway{i}.log"))
            gateways[i].start()
        yield gateways
    finally:
        for gateway in gateways:
            gateway.kill()


def live_through_crashes(
    bundles: Path, folder: Path, plan: Plan, database_url: str = "", seed: int = 0
) -> Figures:
    """Send radiographs while everything is killed, and tell what became of them.

    Args:
        bundles: The shipped ones.
        folder: Empty; takes spool, archive and logs.
        plan: What shall happen.
        database_url: Of PostgreSQL; empty for SQLite.
        seed: Of the moments of the kills.
    """
    (golden, *_) = sorted((bundles / MODEL / "golden").glob("*.dcm"))
    sources = [
        Source(f"1.2.{i % plan.studies}", f"1.5.{i}.{seed}", i) for i in range(plan.instances)
    ]
    arrivals = Arrivals()
    with ExitStack() as stack:
        archive = stack.enter_context(running_orthanc(folder))
        service = stack.enter_context(running_server(bundles / MODEL))
        to_service = Relay(service.address, lambda response: None)
        stack.callback(to_service.stop)
        to_archive = Relay(archive.url, arrivals.note)
        stack.callback(to_archive.stop)
        gateways = stack.enter_context(
            running_gateways(folder, plan, to_service.url, to_archive.url, database_url)
        )
        senders: list[Sender] = []

        def may_send() -> bool:
            under_way = sum(sender.sent for sender in senders) - arrivals.instances
            return under_way < max(8, plan.instances // 4)

        of_sender = [[s for s in sources if s.number % plan.studies % 2 == n] for n in (0, 1)]
        dataset = dcmread(golden)
        senders.append(StowRsSender(of_sender[0], dataset, gateways, may_send))
        senders.append(CStoreSender(of_sender[1], dataset, gateways, may_send))
        began_s = time.monotonic()
        for sender in senders:
            sender.start()
        kills = kill_in_turn(
            plan, gateways, service, archive, (to_service, to_archive), arrivals, seed
        )
        everything = (*gateways, service, archive)
        wait_alive(lambda: sum(sender.sent for sender in senders) == plan.instances, everything)
        wait_alive(lambda: not any(gateways[0].jobs(state=one) for one in OPEN_STATES), everything)
        duration_s = time.monotonic() - began_s
        undone = plan.instances - len(gateways[0].jobs(state="done"))
        for gateway in gateways:
            gateway.stop()
        strays, left = sweep(folder / "spool", database_url)
        made = read_results(archive)
        counts = {kind: Counter(made[kind].values()) for kind in made}
        return Figures(
            instances=plan.instances,
            gateway_kills=kills.count("GatewayProcess"),
            service_kills=kills.count("LiveServer"),
            orthanc_kills=kills.count("Orthanc"),
            busy=to_service.refused + to_archive.refused,
            sent_again=sum(sender.sent_again for sender in senders),
            retries=count_retries(folder),
            repeated=sum(arrivals.counts.values()) - len(arrivals.counts),
            reports=len(made[COMPREHENSIVE_3D_SR]),
            captures=len(made[SecondaryCaptureImageStorage]),
            lost=sum(source.instance not in counts[kind] for kind in made for source in sources),
            doubled=sum(count - 1 for kind in made for count in counts[kind].values()),
            out_of_order=count_out_of_order(arrivals, made[COMPREHENSIVE_3D_SR], sources),
            undone=undone,
            strays=strays,
            left=left,
            duration_s=duration_s,
        )


def kill_in_turn(
    plan: Plan,
    gateways: list[GatewayProcess],
    service: LiveServer,
    archive: Orthanc,
    relays: tuple[Relay, Relay],
    arrivals: Arrivals,
    seed: int,
) -> list[str]:
    """Kill one after the other as results arrive, the last time all at once.

    In the second quarter half of the service's answers are 503, in the third half of the archive's.

    Returns:
        The class of each that was killed.
    """
    chance = random.Random(seed)
    rounds: list[list[Mortal]] = []
    for life in range(plan.kills - 1):
        rounds += [[gateways[life % len(gateways)]], [service], [archive]]
    rounds.append([*gateways, service, archive])
    for number, victims in enumerate(rounds):
        due = (number + 1) * plan.instances // (len(rounds) + 2)
        wait_alive(lambda due=due: arrivals.instances >= due, (*gateways, service, archive))
        for relay, quarter in zip(relays, (1, 2), strict=True):
            relay.is_refusing = 4 * number // len(rounds) == quarter
        time.sleep(chance.uniform(0, 0.4))
        for victim in victims:
            victim.kill()
        time.sleep(chance.uniform(0, 0.8))
        for victim in victims:
            victim.start()
    return [type(victim).__name__ for victims in rounds for victim in victims]


def wait_alive(condition: Callable[[], Any], those: Sequence[Mortal]) -> None:
    """Wait for something to become true, while nothing ends by itself."""

    def is_true() -> bool:
        for one in those:
            code = one.process.poll() if one.process is not None else None
            assert code is None, f"{type(one).__name__} ended with {code}"
        return bool(condition())

    until(is_true, LONGEST_S)


def sweep(spool_dir: Path, database_url: str) -> tuple[int, int]:
    """Remove what no job knows, as a gateway does after an hour.

    Returns:
        How many files that were, and how many are left.
    """
    settings = GatewaySettings(spool_dir=str(spool_dir), database_url=database_url)
    database = Database(settings.sqlalchemy_url)
    strays = OrphanedFiles(database, Spool(spool_dir, 0), Signals()).sweep(0.0).total()
    database.close()
    return strays, sum(len(list((spool_dir / name).iterdir())) for name in ("objects", "incoming"))


def read_results(archive: Orthanc) -> dict[str, dict[str, str]]:
    """Give, by SOP class, which instance each result in Orthanc is of, by its SOP Instance UID."""
    made: dict[str, dict[str, str]] = {COMPREHENSIVE_3D_SR: {}, SecondaryCaptureImageStorage: {}}
    for one in httpx.get(f"{archive.url}/instances", timeout=30).json():
        data = httpx.get(f"{archive.url}/instances/{one}/file", timeout=30).content
        ds = dcmread(io.BytesIO(data), stop_before_pixels=True)
        if ds.SOPClassUID == COMPREHENSIVE_3D_SR:
            (evidence,) = ds.CurrentRequestedProcedureEvidenceSequence
            (series,) = evidence.ReferencedSeriesSequence
            (source,) = series.ReferencedSOPSequence
        else:
            (source,) = ds.SourceImageSequence
        assert ds.SOPInstanceUID not in made[ds.SOPClassUID]
        made[ds.SOPClassUID][str(ds.SOPInstanceUID)] = str(source.ReferencedSOPInstanceUID)
    return made


def count_out_of_order(arrivals: Arrivals, reports: dict[str, str], sources: list[Source]) -> int:
    """Count the reports that arrived before that of an instance of their study sent earlier."""
    of = {source.instance: source for source in sources}
    last: dict[str, int] = {}
    count = 0
    for uid in arrivals.counts:  # in the order of their first arrival
        if uid in reports:
            source = of[reports[uid]]
            count += source.number < last.get(source.study, -1)
            last[source.study] = max(source.number, last.get(source.study, -1))
    return count


def count_retries(folder: Path) -> int:
    """Count what the gateways tried again, from their logs."""
    lines = [line for log in folder.glob("gateway*.log") for line in log.read_text().splitlines()]
    events = Counter(json.loads(line)["event"] for line in lines if line.endswith("}"))
    return events["analysis postponed"] + events["delivery postponed"]
