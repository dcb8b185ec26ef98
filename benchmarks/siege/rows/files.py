"""Small files that cost a lot to read."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.connection import Target
from benchmarks.siege.arena import Arena, honest_predictions
from benchmarks.siege.attacked import Attacked
from benchmarks.siege.clients import Reply, post
from benchmarks.siege.made import dicom, pictures
from benchmarks.siege.measure import Cost, wait_idle
from benchmarks.siege.row import MIB, REFUSALS, Bars, Row, Sighting
from benchmarks.siege.stow import related
from benchmarks.siege.watch import add, watching
from benchmarks.siege.watchers import Honest

FAMILY = "files"
TIMES = 3
AT_ONCE = 2
LONGEST_QUICK_S = 2.0

PARSED = Bars(cpu_s=0.1, memory_mib=64, statuses=REFUSALS)
"""What cannot be an image is refused while it is parsed."""

LARGE = Bars(cpu_s=0.15, memory_mib=64 + 16, statuses=REFUSALS)
"""The same of a body of 12 to 16 MB, which is held while it comes."""

BYTES_A_PIXEL = 4
PICTURE = Bars(
    cpu_s=None,
    memory_mib=BYTES_A_PIXEL * 8000 * 8000 / MIB + 8,
    statuses=("200", "429", *REFUSALS),
)
"""A picture at the limit of pixels may be read, in bounded memory, and take a core for a while."""


def attack_with(
    make: Callable[[], bytes], bars: Bars, at_once: int = AT_ONCE
) -> Callable[[Arena], Sighting]:
    """Give an attack on the service with one file, so many at a time."""

    def attack(arena: Arena) -> Sighting:
        body = make()
        with arena.shared_service() as server:
            alone = alone_with(server, server.target, body, {}, arena.patience_s)
            if not wait_idle(server.pid, arena.patience_s):
                alone.notes.append(f"still busy {arena.patience_s:.0f} s after its answer")
        # A new one if that was the end of the first.
        with arena.shared_service() as server:
            honest = honest_predictions(server)
            return in_company(server, server.target, body, {}, arena, bars, alone, honest, at_once)

    return attack


def attack_gateway_with(make: Callable[[], bytes], bars: Bars) -> Callable[[Arena], Sighting]:
    """Give an attack on the gateway with one object, by STOW-RS."""

    def attack(arena: Arena) -> Sighting:
        kind, body = related([make()])
        with arena.folder() as folder, arena.gateway(folder) as gateway:
            studies, headers = gateway.at("/dicomweb/studies"), {"Content_Type": kind}
            gateway.send_objects([dicom.radiograph()])
            alone = alone_with(gateway, studies, body, headers, arena.patience_s)
            wait_idle(gateway.pid, arena.patience_s)
            honest = (Honest("stow", gateway.port),)
            return in_company(gateway, studies, body, headers, arena, bars, alone, honest)

    return attack


def alone_with(
    server: Attacked, target: Target, body: bytes, headers: dict[str, str], patience_s: float
) -> Sighting:
    """Send a file to a server that has nothing else to do: all it spends is spent on the file.

    It is sent a few times if that is quick. The costs are those of one.
    """
    seen = Sighting()
    replies: list[Reply] = []
    with Cost(server.pid) as cost:
        while len(replies) < TIMES and server.is_alive:
            replies.append(post(target, body, patience_s, **headers))
            if replies[-1].seconds > LONGEST_QUICK_S:
                break
        # What goes on behind the answer belongs to the file, too.
        wait_idle(server.pid, patience_s)
    add(seen, replies)
    seen.cpu_s, seen.is_alone = cost.cpu_s / len(replies), True
    seen.memory_bytes = cost.memory_bytes
    return seen


def in_company(
    server: Attacked,
    target: Target,
    body: bytes,
    headers: dict[str, str],
    arena: Arena,
    bars: Bars,
    alone: Sighting,
    honest: tuple[Honest, ...],
    at_once: int = AT_ONCE,
) -> Sighting:
    """Send a file again, on some connections at a time, among probes and honest clients.

    Returns:
        What these saw, with the costs of the file when it was alone.
    """
    with watching(server, honest, bars) as seen, ThreadPoolExecutor(at_once) as pool:
        sending = [
            pool.submit(post, target, body, arena.patience_s, **headers) for _ in range(TIMES)
        ]
        replies = [one.result() for one in sending]
    add(seen, replies)
    seen.answers = alone.answers + seen.answers
    seen.notes = alone.notes + seen.notes
    seen.cpu_s, seen.is_alone, seen.memory_bytes = alone.cpu_s, True, alone.memory_bytes
    return seen


def _row(key: str, title: str, make: Callable[[], bytes], bars: Bars = PARSED) -> Row:
    return Row(key, FAMILY, title, attack_with(make, bars), bars)


def _picture_row(key: str, title: str, make: Callable[[], bytes]) -> Row:
    # One at a time: of two cores one is left for the others, who must then not notice.
    return Row(key, FAMILY, title, attack_with(make, PICTURE, at_once=1), PICTURE)


def _gateway_row(key: str, title: str, make: Callable[[], bytes]) -> Row:
    # The gateway may take what it can file: its service will refuse it.
    bars = Bars(cpu_s=0.1, memory_mib=64, statuses=("200", "409", *REFUSALS))
    return Row(key, FAMILY, title, attack_gateway_with(make, bars), bars)


ROWS = (
    _row(
        "empty-items", "DICOM, deflated, 2 million empty items",
        lambda: dicom.empty_items(2_000_000),
    ),
    _row(
        "empty-items-plain", "DICOM, not deflated, 2 million empty items",
        lambda: dicom.empty_items(2_000_000, dicom.EXPLICIT),
        LARGE,
    ),
    _row(
        "plain-elements", "DICOM, 8 million plain elements",
        lambda: dicom.plain_elements(8_000_000),
    ),
    _row("window-values", "DICOM, a window of 3 million values",
         lambda: dicom.window_values(3_000_000), LARGE),
    _row(
        "repeated-element", "DICOM, one element 18 million times",
        lambda: dicom.repeated_element(18_000_000),
    ),
    _row(
        "nested-sequences", "DICOM, 100,000 sequences in one another",
        lambda: dicom.nested_sequences(100_000),
    ),
    _row(
        "empty-fragments", "DICOM, 2 million empty fragments of pixels",
        lambda: dicom.empty_fragments(2_000_000),
        LARGE,
    ),
    _gateway_row(
        "gateway-empty-items", "the gateway: DICOM, deflated, 2 million empty items",
        lambda: dicom.empty_items(2_000_000),
    ),
    _gateway_row(
        "gateway-plain-elements", "the gateway: DICOM, 8 million plain elements",
        lambda: dicom.plain_elements(8_000_000),
    ),
    _gateway_row(
        "gateway-nested", "the gateway: DICOM, 100,000 sequences in one another",
        lambda: dicom.nested_sequences(100_000),
    ),
    _row(
        "rle-segment", "an RLE segment of 20 MB for 512 x 512",
        lambda: dicom.long_rle(20_000_000),
        Bars(cpu_s=0.3, memory_mib=64 + 2 * 20, statuses=REFUSALS),  # in two processes
    ),
    _picture_row("png-rgba16", "PNG 8000 x 8000, RGBA, 16 bits",
         lambda: pictures.flat_png(8000, pictures.RGBA)),
    _picture_row("png-interlaced", "PNG 8000 x 8000, RGBA, 16 bits, interlaced",
         lambda: pictures.flat_png(8000, pictures.RGBA, interlaced=True)),
    _picture_row("png-grey16", "PNG 8000 x 8000, grey, 16 bits",
         lambda: pictures.flat_png(8000, pictures.GREY)),
    _row("jpeg-scans", "progressive JPEG with 20,000 scans",
         lambda: pictures.many_scans(20_000)),
    _row("dicom-jpeg-scans", "the same inside DICOM",
         lambda: dicom.in_dicom(pictures.many_scans(20_000), 2000)),
)  # fmt: skip
