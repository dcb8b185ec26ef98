"""The siege's table as Markdown."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.siege.row import MIB
from benchmarks.table import MARKS, machine_line, markdown

COLUMNS = (
    "attack",
    "sent",
    "came back",
    "CPU s (rough)",
    "memory MiB",
    "live ms",
    "honest: asked, failed, slow",
    "bar",
)


def render(results: dict[str, Any]) -> str:
    """Give the table, what was missed, and where it was measured."""
    rows = results["rows"]
    parts = [markdown(COLUMNS, map(_cells, rows))]
    missed = [one for one in rows if one["misses"]]
    if missed:
        parts.append("Missed:\n\n" + "\n".join(map(_told, missed)))
    parts.append(machine_line(results["machine"]))
    return "\n\n".join(parts) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    seen = row["seen"]
    return [
        f"**{row['key']}**: {row['title']}",
        size(seen["sent_bytes"]),
        "; ".join(f"{count} x {what}" for what, count in Counter(seen["answers"]).items()),
        _figure(seen["cpu_s"], 2) if seen["is_alone"] else _rough(seen["cpu_s"]),
        "" if seen["memory_bytes"] is None else f"+{seen['memory_bytes'] / MIB:.0f}",
        _figure(seen["live_ms"], 0),
        f"{seen['asked']}, {seen['failed']}, {seen['slow']}" if seen["asked"] else "",
        MARKS[not row["misses"]],
    ]


def size(count: int) -> str:
    """Give a number of bytes for people; empty for none."""
    if not count:
        return ""
    for unit, of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= of:
            return f"{count / of:.3g} {unit}"
    return f"{count} B"


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _rough(value: float | None) -> str:
    return "" if value is None else f"({value:.1f})"


def _told(row: dict[str, Any]) -> str:
    noted = f" ({'; '.join(row['seen']['notes'])})" if row["seen"]["notes"] else ""
    return f"- {row['key']}: {'; '.join(row['misses'])}{noted}"
