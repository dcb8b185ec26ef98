"""Known weaknesses of what the lock names, by pip-audit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.supply.lock import LOCK, normalised, read_lock

OK, FOUND, NOT_AUDITED = 0, 1, 3
"""Exit codes. pip-audit itself gives 0 where the database knew none of the packages."""


def run_audit(tool: Path, lock: Path = LOCK) -> int:
    """Audit a lock file and give the exit code.

    Args:
        tool: The program pip-audit.
        lock: What to audit.
    """
    options = ["--requirement", str(lock), "--no-deps", "--disable-pip", "--format", "json"]
    ended = subprocess.run(  # noqa: S603 - our own tool on our own file
        [str(tool), *options, "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report = json.loads(ended.stdout)
    except ValueError:
        reason = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return _not_audited(f"pip-audit gave no report: {reason[:300]}")
    return judge(report, read_lock(lock))


def judge(report: dict[str, Any], locked: dict[str, str]) -> int:
    """Tell what a report of pip-audit means, and give the exit code.

    Args:
        report: Its JSON.
        locked: Version of each package that should be in it.
    """
    rows = report.get("dependencies", [])
    audited = {
        normalised(row["name"]): row.get("vulns", [])
        for row in rows
        if "skip_reason" not in row and "vulns" in row
    }
    missing = sorted(locked.keys() - audited.keys())
    found = {name: vulns for name, vulns in audited.items() if vulns}
    for name, vulns in sorted(found.items()):
        for one in vulns:
            mended = ", ".join(one.get("fix_versions", [])) or "no version yet"
            print(f"{name} {locked.get(name, '')}: {one['id']}, mended in {mended}")
    if found:
        return FOUND
    if missing:
        few = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        return _not_audited(
            f"the database was not reached, or knows nothing of {len(missing)} of {len(locked)} "
            f"packages: {few}"
        )
    print(f"{len(audited)} packages, no known weakness")
    return OK


def _not_audited(reason: str) -> int:
    print(f"NOT AUDITED: {reason}. This is no pass.", file=sys.stderr)
    return NOT_AUDITED
