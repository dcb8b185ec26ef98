"""``python -m tests.crash`` sends radiographs while gateway, service and Orthanc are killed.

Each is killed with -9 and started again several times while half of the answers in a phase are
503. In the end Orthanc has exactly one SR and one SC of each instance, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.gateway.crashes import ORTHANC_ABSENT, Figures, Plan, live_through_crashes
from tests.gateway.postgresql import postgresql_absent, running_postgresql

DATABASES = ("sqlite", "postgresql")


def main() -> int:
    """Run on each database and print what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--instances", type=int, default=200, help="at most 500")
    parser.add_argument("--kills", type=int, default=5, help="of each, the last at once")
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--bundles", type=Path, default=REPOSITORY / "bundles")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    wish = parser.parse_args()
    databases = wish.database or list(DATABASES)
    if absent := ORTHANC_ABSENT or ("postgresql" in databases and postgresql_absent()):
        print(absent, file=sys.stderr)
        return 2
    found = {}
    for database in databases:
        plan = Plan(wish.instances, wish.kills, wish.studies, 1 + (database == "postgresql"))
        print(f"{plan.gateways} x gateway on {database} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder, running(database) as url:
            found[database] = live_through_crashes(wish.bundles, Path(folder), plan, url, wish.seed)
    print(render_table(found))
    return 0 if all(figures.is_sound for figures in found.values()) else 1


@contextmanager
def running(database: str) -> Iterator[str]:
    """Start a PostgreSQL if it is one, and give its address; empty for SQLite."""
    if database == "sqlite":
        yield ""
    else:
        with running_postgresql() as url:
            yield url


def render_table(found: dict[str, Figures]) -> str:
    """Give the figures as Markdown, one column for each database."""
    lines = [f"| | {' | '.join(found)} |", "|---|" + "---:|" * len(found)]
    rows = [asdict(figures) for figures in found.values()]
    for name in rows[0]:
        values = " | ".join(f"{row[name]:.0f}" for row in rows)
        lines.append(f"| {name.replace('_', ' ')} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
