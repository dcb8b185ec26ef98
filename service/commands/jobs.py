"""``python -m service jobs``: what an operator does with the inbox, beside a running gateway."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command import OK
from service.errors import StartupError
from service.gateway.http.answers import job_answer, to_datetime
from service.gateway.settings import DATABASE_FILE, GatewaySettings
from service.gateway.store.database import Database, DatabaseError
from service.gateway.store.ledger import JobEntry, Ledger
from service.gateway.store.spool import Spool
from service.gateway.work.workers import S_PER_H

COLUMNS = ("ID", "STUDY", "STATE", "REASON", "TRIES", "CHANNEL", "BYTES", "RECEIVED", "UPDATED")


def run_jobs(args: argparse.Namespace, settings: GatewaySettings) -> int:
    """Run one action and give the exit status.

    Raises:
        CxrError: What its user can mend.
    """
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
    print(render_jobs(ledger.page(args.state, None, args.limit)))
    return OK


def _show(args: argparse.Namespace, ledger: Ledger) -> int:
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


def render_jobs(entries: list[JobEntry]) -> str:
    """Give jobs as a table for a terminal."""
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
    return to_datetime(moment_s).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(value: object) -> str:
    return "-" if value is None else str(value)
