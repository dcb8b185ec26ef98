"""All attacks one after another."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.child import MeasureError
from benchmarks.machine import describe_machine
from benchmarks.siege.arena import Arena
from benchmarks.siege.row import Row, Sighting, misses
from benchmarks.siege.rows import access, archives, bodies, bundles, dimse, files, http, inbox

ROWS: tuple[Row, ...] = (
    *files.ROWS,
    *http.ROWS,
    *bodies.ROWS,
    *dimse.ROWS,
    *archives.ROWS,
    *inbox.ROWS,
    *bundles.ROWS,
    *access.ROWS,
)


def choose(wanted: Sequence[str]) -> list[Row]:
    """Give the rows of these keys or families, all if none is named.

    Raises:
        MeasureError: There is no such row.
    """
    known = {row.key for row in ROWS} | {row.family for row in ROWS}
    if unknown := sorted(set(wanted) - known):
        raise MeasureError(
            f"no such row: {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    return [row for row in ROWS if not wanted or {row.key, row.family} & set(wanted)]


def run(arena: Arena, rows: Sequence[Row]) -> dict[str, Any]:
    """Attack, and give what was seen."""
    done = []
    for row in rows:
        done.append(attack(arena, row))
        tell(done[-1])
    return {"kind": "siege", "machine": describe_machine(), "rows": done}


def attack(arena: Arena, row: Row) -> dict[str, Any]:
    """Do one attack and judge what was seen of it."""
    began_s = time.monotonic()
    try:
        seen = row.attack(arena)
        missed = misses(row.bars, seen)
    except (MeasureError, OSError) as error:
        seen, missed = Sighting(), [f"not measured: {error}"]
    return {
        "key": row.key,
        "family": row.family,
        "title": row.title,
        "seconds": round(time.monotonic() - began_s, 1),
        "seen": seen.as_json(),
        "misses": missed,
    }


def tell(row: dict[str, Any]) -> None:
    """Say how an attack went, while the next is on its way."""
    judged = "; ".join(row["misses"]) or "met"
    print(f"{row['key']} ({row['seconds']:.0f} s): {judged}", file=sys.stderr, flush=True)
