"""Bodies of JSON and multipart that cost more to read than to hold."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.siege.arena import Arena, honest_predictions
from benchmarks.siege.made.bodies import (
    BOUNDARY,
    empty_parts,
    gzipped,
    json_deep,
    json_images,
    v2_lists,
)
from benchmarks.siege.measure import wait_idle
from benchmarks.siege.row import Bars, Row, Sighting
from benchmarks.siege.rows.files import alone_with, in_company
from benchmarks.siege.watchers import Honest

FAMILY = "bodies"
HELD_BYTES = 60_000_000
"""Nearly the largest body a service takes: it may be held, and its reading must be bounded."""

HELD = Bars(cpu_s=0.6, memory_mib=192 + 64, statuses=("400", "413", "415", "422"))
"""Four times the body: received in pieces, joined, sent to a worker and looked through there."""

JSON = {"Content_Type": "application/json"}
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def attack_with(
    path: str, make: Callable[[], bytes], headers: dict[str, str], bars: Bars = HELD
) -> Callable[[Arena], Sighting]:
    """Give an attack on the service with one body."""

    def attack(arena: Arena) -> Sighting:
        body = make()
        with arena.shared_service() as server:
            target = server.at(path.replace("{model}", arena.model))
            alone = alone_with(server, target, body, headers, arena.patience_s)
            wait_idle(server.pid, arena.patience_s)
        with arena.shared_service() as server:
            target = server.at(path.replace("{model}", arena.model))
            honest = honest_predictions(server)
            return in_company(server, target, body, headers, arena, bars, alone, honest)

    return attack


def attack_gateway_parts(arena: Arena) -> Sighting:
    """Give the gateway a body of parts that hold nothing."""
    body, headers = empty_parts(100_000, "application/dicom"), {"Content_Type": RELATED}
    with arena.folder() as folder, arena.gateway(folder) as gateway:
        studies = gateway.at("/dicomweb/studies")
        alone = alone_with(gateway, studies, body, headers, arena.patience_s)
        wait_idle(gateway.pid, arena.patience_s)
        honest = (Honest("stow", gateway.port),)
        return in_company(gateway, studies, body, headers, arena, PARTS, alone, honest)


PARTS = Bars(cpu_s=5.0, memory_mib=64, statuses=("400", "409", "413"))
INFER = "/v2/models/{model}/infer"


def _row(key: str, title: str, path: str, make: Callable[[], bytes], **headers: str) -> Row:
    return Row(key, FAMILY, title, attack_with(path, make, headers), HELD)


ROWS = (
    _row("json-images", "JSON, 60 MB of empty images", "/v1/predict",
         lambda: json_images(HELD_BYTES), **JSON),
    _row("json-deep", "JSON, 10 million brackets", "/v1/predict",
         lambda: json_deep(10_000_000), **JSON),
    _row("v2-deep", "v2, 10 million brackets", INFER,
         lambda: json_deep(10_000_000), **JSON),
    _row("v2-lists", "v2, gzip of 20 million empty lists", INFER,
         lambda: gzipped(v2_lists(HELD_BYTES)), Content_Encoding="gzip", **JSON),
    _row("multipart-parts", "multipart of 500,000 empty parts", "/v1/predict",
         lambda: empty_parts(500_000), Content_Type=MULTIPART),
    Row("gateway-parts", FAMILY, "the gateway: multipart of 100,000 empty parts",
        attack_gateway_parts, PARTS),
)  # fmt: skip
