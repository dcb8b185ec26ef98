"""Audit, bill of materials and licences: none of them passes by accident."""

from __future__ import annotations

from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from tools.supply.audit import FOUND, NOT_AUDITED, OK, judge, run_audit
from tools.supply.licences import READ, Row, is_copyleft, licence_of, read_rows, run_licences
from tools.supply.lock import read_lock
from tools.supply.sbom import differences

LOCKED = {"a": "1.0", "b-c": "2.0"}
CLEAN = {"name": "a", "version": "1.0", "vulns": []}
OTHER = {"name": "B_c", "version": "2.0", "vulns": []}
WEAK = OTHER | {"vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "b-c", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([CLEAN, OTHER], OK),
        ([CLEAN, WEAK], FOUND),
        ([WEAK], FOUND),
        ([CLEAN, SKIPPED], NOT_AUDITED),
        ([CLEAN], NOT_AUDITED),
        ([], NOT_AUDITED),
    ],
    ids=["clean", "weak", "weak and absent", "skipped", "absent", "empty"],
)
def test_audit_passes_only_what_was_audited(
    rows: list[dict[str, Any]], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """pip-audit itself ends with 0 when its database knew none of the packages."""
    assert judge({"dependencies": rows}, LOCKED) == code
    told = capsys.readouterr()
    assert ("NOT AUDITED" in told.err) is (code == NOT_AUDITED)
    assert ("PYSEC-1" in told.out) is (code == FOUND)


@pytest.mark.parametrize("said", ["", "echo nonsense", "echo '{}'", "echo no network >&2; exit 1"])
def test_audit_without_a_report_is_no_pass(tmp_path: Path, said: str) -> None:
    """Whatever the tool does instead."""
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!/bin/sh\n{said}\n")
    tool.chmod(0o755)
    assert run_audit(tool) == NOT_AUDITED


def test_lock_is_read_whole() -> None:
    """Each of its rows, under the one form of its name."""
    locked = read_lock()
    assert len(locked) > 100
    assert {"pyjwt", "fastapi", "jinja2"} <= locked.keys()


def test_bill_that_parts_from_the_lock_is_told() -> None:
    """Another version, or none; what only the environment has, such as pip, is no fault."""
    bill = {"components": [{"name": "A", "version": "1.1"}, {"name": "pip", "version": "3"}]}
    assert differences(bill, LOCKED) == [
        "a: 1.0 in the lock, 1.1 in the bill",
        "b-c: 2.0 in the lock, absent in the bill",
    ]


@pytest.mark.parametrize(
    ("licence", "is_bad"),
    [
        ("GPL-3.0-only", True),
        ("AGPL-3.0-or-later", True),
        ("GNU General Public License v3 or later (GPLv3+)", True),
        ("GNU Affero General Public License v3", True),
        ("MIT AND GPL-2.0-only", True),
        ("MIT OR GPL-3.0-only", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("LGPL-3.0-only", False),
        ("Apache-2.0", False),
    ],
)
def test_copyleft_is_recognised(licence: str, is_bad: bool) -> None:
    """Where there is no other choice and no exception."""
    assert is_copyleft(licence) is is_bad
    assert Row("x", "1", licence, is_default=True).is_refused is is_bad
    assert not Row("x", "1", licence, is_default=False).is_refused


def test_unknown_licence_is_refused() -> None:
    """Nobody can say that it is allowed; a text is no name."""
    told = Message()
    told["License"] = "Permission is granted\nprovided that"
    licence = licence_of("x", told)  # type: ignore[arg-type]
    assert Row("x", "1", licence, is_default=True).is_refused
    assert licence_of("cuda_toolkit", told) == READ["cuda-toolkit"]  # type: ignore[arg-type]


def test_nothing_unwanted_is_installed_by_default() -> None:
    """What `make licences` says of this environment; development alone may use a GPL tool."""
    rows = {row.name.lower(): row for row in read_rows()}
    assert run_licences() == 0
    assert rows["fastapi"].is_default
    assert rows["starlette"].is_default
    assert not rows["pytest"].is_default
