"""The bill of materials: CycloneDX JSON of the installed environment, compared with the lock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.supply.lock import LOCK, PROJECT, normalised, read_lock

SPEC_VERSION = "1.6"


def run_sbom(tool: Path, python: Path, out: Path) -> int:
    """Write the bill of an environment; 1 if it is not what the lock says.

    Args:
        tool: The program cyclonedx-py.
        python: The environment's interpreter; the lock was installed into it.
        out: The file to write.
    """
    options = ["--pyproject", str(PROJECT), "--spec-version", SPEC_VERSION, "--output-format"]
    ended = subprocess.run(  # noqa: S603 - our own tool on our own environment
        [
            *(str(tool), "environment", str(python), *options, "JSON"),
            *("--output-reproducible", "--validate", "--output-file", str(out)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        print(ended.stderr.strip()[-2000:], file=sys.stderr)
        return 1
    bill = json.loads(out.read_text())
    wrong = differences(bill, read_lock(LOCK))
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{out}: CycloneDX {bill['specVersion']}, {len(bill['components'])} components")
    return 1 if wrong else 0


def differences(bill: dict[str, Any], locked: dict[str, str]) -> list[str]:
    """Say where a bill and the lock part; what only the bill has is said by neither."""
    built = {normalised(one["name"]): one.get("version", "") for one in bill["components"]}
    return [
        f"{name}: {version} in the lock, {built.get(name, 'absent')} in the bill"
        for name, version in sorted(locked.items())
        if built.get(name) != version
    ]
