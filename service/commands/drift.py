"""``python -m service drift``: are the answers still those of the validation?"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from cxr.bundles.manifest import MANIFEST_NAME, Manifest
from cxr.bundles.reference import Reference
from cxr.command import OK
from cxr.errors import BundleError
from cxr.metrics.estimate import Z_95
from service.client.bounded_exchange import Bounds, build_client, exchange
from service.errors import InvalidRequestError
from service.telemetry.drift import (
    MODERATE_FROM,
    OUT_OF_SCOPE,
    SHARES,
    SHIFTED_FROM,
    Reading,
    chance_limit,
    images_needed,
    join_bins,
    population_stability,
    read_psi,
)
from service.telemetry.drift_sources import (
    Tally,
    add,
    difference,
    parse_since,
    tally_log,
    tally_metrics,
)

MODERATE, SHIFTED, UNKNOWN = 3, 4, 5
STATUSES: dict[Reading, int] = {
    "stable": OK,
    "too few": UNKNOWN,
    "moderate": MODERATE,
    "shifted": SHIFTED,
}
WORST_FIRST = (SHIFTED, MODERATE, UNKNOWN, OK)
PAGE_BOUNDS = Bounds(timeout_s=10.0, max_bytes=16 * 1024 * 1024)  # a page has 50 kB

Key = tuple[str, str]
"""Name and version of a model."""


@dataclass(frozen=True)
class Statement:
    """What can be said of one model's answers.

    Attributes:
        psi: Population stability index.
        by_chance: What answers of the same population exceed once in 20 times.
        needed: Images it takes for that to be below the first limit; None if none suffice.
        reading: What it means.
    """

    psi: float
    by_chance: float
    needed: int | None
    reading: Reading


def judge(tally: Tally, reference: Reference) -> Statement:
    """Compare answers with a reference.

    They are too few if chance alone could give the first limit, unless the index is beyond
    even the second by more than chance.
    """
    bounds = join_bins(reference.counts)
    bins = len(bounds) - 1
    psi = population_stability(reference.counts, tally.bins, bounds)
    by_chance = chance_limit(tally.images, reference.images, bins)
    needed = images_needed(MODERATE_FROM, reference.images, bins)
    enough = needed is not None and tally.images >= needed
    reading = read_psi(psi) if enough or psi > SHIFTED_FROM + by_chance else "too few"
    return Statement(psi, by_chance, needed, reading)


def describe(key: Key, tally: Tally, reference: Reference, said: Statement) -> str:
    """Give a statement for people, with the changes of shares and their 95 % intervals."""
    name, version = key
    needed = "more than any number" if said.needed is None else f"{said.needed}"
    lines = [
        f"{name} {version}: PSI {said.psi:.3f}, {said.reading} "
        f"({tally.images} images; {reference.images} of validation)",
        f"  chance alone exceeds {said.by_chance:.3f} once in 20 times; images needed for a "
        f"statement: {needed}",
    ]
    for share in SHARES:
        then, now = _share(reference, share), tally.decisions[share] / tally.images
        margin = Z_95 * math.sqrt(_variance(then, reference.images) + _variance(now, tally.images))
        lines.append(
            f"  {share:<13}{now:7.1%}  validation {then:6.1%}  change {(now - then) * 100:+5.1f} "
            f"points (+-{margin * 100:.1f})"
        )
    return "\n".join(lines)


def _variance(share: float, images: int) -> float:
    """Give the variance of a share, one image of each kind added.

    Source: A. Agresti, B. Caffo, The American Statistician 54(4), 2000.
    """
    likely = (share * images + 1) / (images + 2)
    return likely * (1 - likely) / (images + 2)


def _share(reference: Reference, share: str) -> float:
    if share == OUT_OF_SCOPE:
        return reference.share_out_of_scope
    # Names of shares are any text, those of decisions three.
    return dict[str, int](reference.decisions.items()).get(share, 0) / reference.images


def run_drift(args: argparse.Namespace, bundles_dir: str) -> int:
    """Run the command and give the exit status.

    Raises:
        CxrError: What its user can mend.
    """
    tallies = _from_log(args) if args.log else _from_metrics(args)
    references = read_references(Path(bundles_dir))
    wanted = {k: t for k, t in tallies.items() if args.model in (None, k[0])}
    statuses = [_tell(key, tally, references) for key, tally in sorted(wanted.items())]
    if not statuses:
        print("No answered image was found.", file=sys.stderr)
        return UNKNOWN
    return next(status for status in WORST_FIRST if status in statuses)


def _tell(key: Key, tally: Tally, references: dict[Key, Reference | None]) -> int:
    reference = references.get(key)
    if reference is None:
        why = "has no reference" if key in references else "is not among the bundles"
        print(f"{key[0]} {key[1]}: {tally.images} images; its bundle {why}.")
        return UNKNOWN
    said = judge(tally, reference)
    print(describe(key, tally, reference, said))
    return STATUSES[said.reading]


def read_references(folder: Path) -> dict[Key, Reference | None]:
    """Read the references of all bundles below a folder.

    Raises:
        BundleError: There are no bundles.
    """
    manifests = [
        Manifest.model_validate_json(path.read_bytes())
        for path in sorted(folder.rglob(MANIFEST_NAME))
    ]
    if not manifests:
        raise BundleError(f"There is no bundle in {folder}. Give --bundles.")
    return {(one.name, one.version): one.reference for one in manifests}


def _from_log(args: argparse.Namespace) -> dict[Key, Tally]:
    if args.wait_s is not None:
        raise InvalidRequestError("--wait-s goes with --metrics, not with --log.")
    since = None
    if args.since is not None:
        try:
            since = parse_since(args.since, datetime.now(UTC))
        except ValueError:
            raise InvalidRequestError("--since is neither ISO 8601 nor an age (24h).") from None
    return tally_log(_lines_of(args.log), since)


def _lines_of(files: Iterable[str]) -> Iterator[str]:
    for name in files:
        if name == "-":
            yield from sys.stdin
            continue
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            yield from file


def _from_metrics(args: argparse.Namespace) -> dict[Key, Tally]:
    if args.since is not None:
        raise InvalidRequestError(
            "--since goes with --log. Metrics count since their process's start; --wait-s counts "
            "for a while."
        )
    if args.wait_s is None:
        return collect(args.metrics)
    return collect_between(args.metrics, lambda: time.sleep(args.wait_s))


def collect(places: Iterable[str]) -> dict[Key, Tally]:
    """Count what replicas answered since their start."""
    return _sum(_tally(place) for place in places)


def collect_between(places: Iterable[str], wait: Callable[[], object]) -> dict[Key, Tally]:
    """Count what replicas answered while ``wait`` waited."""
    known = list(places)
    before = [_tally(place) for place in known]
    wait()
    after = [_tally(place) for place in known]
    return _sum(
        {model: difference(tally, then.get(model, Tally())) for model, tally in now.items()}
        for now, then in zip(after, before, strict=True)
    )


def _tally(place: str) -> dict[str, Tally]:
    page = read_page(place)
    try:
        return tally_metrics(page)
    except (KeyError, ValueError, OverflowError):  # of whatever answered instead
        raise InvalidRequestError(f"{place} is no page of a service's metrics.") from None


def _sum(pages: Iterable[dict[str, Tally]]) -> dict[Key, Tally]:
    total: dict[Key, Tally] = {}
    for page in pages:
        for model, tally in page.items():
            key = model, tally.version
            total[key] = add(total[key], tally) if key in total else tally
    return {key: tally for key, tally in total.items() if tally.images}


def read_page(place: str) -> str:
    """Read a metrics page from a URL or a file.

    Raises:
        InvalidRequestError: The URL does not answer with one.
        OSError: The file cannot be read.
    """
    if not place.startswith(("http://", "https://")):
        return Path(place).read_text(encoding="utf-8")
    url = place if place.rstrip("/").endswith("/metrics") else place.rstrip("/") + "/metrics"
    try:
        with build_client() as client:
            response = exchange(client, PAGE_BOUNDS, method="GET", url=url)
    except httpx.HTTPError as error:
        raise InvalidRequestError(f"{url} cannot be read ({type(error).__name__}).") from None
    if not response.is_success:
        raise InvalidRequestError(
            f"{url} answers {response.status_code}. Save the page with its key and give the file."
        )
    return response.text
