"""``python -m service jobs``: inspect, retry and purge jobs beside a running gateway."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.command_line import OK
from service.commands.parsing import Commands
from service.gateway.store.states import STATES

if TYPE_CHECKING:
    from service.gateway.store.ledger import JobEntry, Ledger

S_PER_H = 3600.0
COLUMNS = ("ID", "STUDY", "STATE", "REASON", "TRIES", "CHANNEL", "BYTES", "RECEIVED", "UPDATED")


def add_parser(commands: Commands) -> None:
    """Add ``jobs list | show | retry | purge``."""
    parser = commands.add_parser("jobs", help="look at the gateway's jobs, retry and purge them")
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="the newest jobs as a table")
    listing.add_argument("--state", choices=STATES, help="only those in this state")
    listing.add_argument("--limit", type=_positive, default=50, help="at most so many")
    show = actions.add_parser("show", help="one job with its deliveries")
    show.add_argument("id")
    show.add_argument("--uids", action="store_true", help="also its UIDs, which identify a study")
    retry = actions.add_parser("retry", help="begin dead jobs again")
    retry.add_argument("ids", nargs="*", metavar="id")
    retry.add_argument("--all-dead", action="store_true", help="every dead job that can be")
    purge = actions.add_parser("purge", help="delete the bytes of finished jobs")
    purge.add_argument("--state", choices=("done", "dead"), default="done")
    purge.add_argument("--older-than-h", type=float, default=0.0, metavar="H")
    purge.add_argument("--rows", action="store_true", help="also forget the jobs themselves")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def run(args: argparse.Namespace) -> int:
    """Run one action."""
    from service.errors import StartupError
    from service.gateway.settings import DATABASE_FILE, load_gateway_settings
    from service.gateway.store.database import Database, DatabaseError
    from service.gateway.store.ledger import Ledger
    from service.gateway.store.spool import Spool

    settings = load_gateway_settings()
    if not settings.is_shared and not (Path(settings.spool_dir) / DATABASE_FILE).is_file():
        raise StartupError("There is no inbox here: set CXR_GATEWAY_SPOOL_DIR as the gateway's.")
    database = Database(settings.sqlalchemy_url)
    try:
        ledger = Ledger(database, Spool(Path(settings.spool_dir), 0))
        return _ACTIONS[args.action](args, ledger)
    except DatabaseError as error:
        raise StartupError(
            f"The inbox's database cannot be used ({type(error).__name__})."
        ) from None
    finally:
        database.close()


def _list(args: argparse.Namespace, ledger: Ledger) -> int:
    print(_render_jobs(ledger.page(args.state, None, args.limit)))
    return OK


def _show(args: argparse.Namespace, ledger: Ledger) -> int:
    from service.gateway.http.answers import job_answer

    shown = job_answer(ledger.get(args.id)).model_dump(mode="json")
    ways, others = shown.pop("deliveries"), shown.pop("other_contents")
    if others:
        shown["other_contents"] = " ".join(others)
    if args.uids:
        shown |= ledger.uids(args.id)
    print("\n".join(f"{name:<19} {_text(value)}" for name, value in shown.items()))
    for way in ways:
        name = way.pop("destination")
        told = "  ".join(f"{key}={_text(value)}" for key, value in way.items())
        print(f"-> {name:<16} {told}")
    return OK


def _retry(args: argparse.Namespace, ledger: Ledger) -> int:
    ids = list(args.ids)
    if args.all_dead:
        before = None
        while page := ledger.page("dead", before, 500):
            ids += [entry.id for entry in page if entry.has_bytes]
            before = page[-1].seq
    for job_id in ids:
        ledger.retry(job_id)
    print(f"{len(ids)} jobs begin again")
    return OK


def _purge(args: argparse.Namespace, ledger: Ledger) -> int:
    count = ledger.purge(args.state, args.older_than_h * S_PER_H, rows=args.rows)
    print(f"{count} jobs purged")
    return OK


_ACTIONS = {"list": _list, "show": _show, "retry": _retry, "purge": _purge}


def _render_jobs(entries: list[JobEntry]) -> str:
    rows = [COLUMNS] + [
        (
            entry.id,
            entry.study,
            entry.state,
            entry.reason or "-",
            str(entry.attempts),
            entry.channel,
            str(entry.size_bytes),
            _time(entry.received_s),
            _time(entry.updated_s),
        )
        for entry in entries
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _time(moment_s: float) -> str:
    return datetime.fromtimestamp(round(moment_s, 3), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(value: object) -> str:
    return "-" if value is None else str(value)
