"""Command line: ``python -m tools.supply audit | sbom | licences``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.supply.audit import run_audit
from tools.supply.licences import run_licences
from tools.supply.sbom import run_sbom


def main() -> int:
    """Run a command and give its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.supply", description="What it is made of."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    audit = commands.add_parser("audit", help="known weaknesses; 3 if that cannot be told")
    audit.add_argument("--tools", type=Path, required=True, help="folder of pip-audit")
    sbom = commands.add_parser("sbom", help="write the bill of materials")
    sbom.add_argument("--tools", type=Path, required=True, help="folder of cyclonedx-py")
    sbom.add_argument("--out", type=Path, default=Path("sbom.json"))
    commands.add_parser("licences", help="print the licences of all dependencies")
    given = parser.parse_args()
    if given.command == "audit":
        return run_audit(given.tools / "pip-audit")
    if given.command == "sbom":
        return run_sbom(given.tools / "cyclonedx-py", Path(sys.executable), given.out)
    return run_licences()


if __name__ == "__main__":
    sys.exit(main())
