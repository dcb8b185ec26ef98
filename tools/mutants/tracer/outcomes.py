"""A plugin of pytest: write down which tests passed, and how long they took."""

import os
from typing import Any


def pytest_runtest_logreport(report: Any) -> None:
    """Append one line for each phase of a test."""
    with open(f"{os.environ['MUTANTS_LINES']}/outcomes", "a", encoding="utf-8") as file:
        file.write(f"{report.outcome}\t{report.duration}\t{report.nodeid}\n")
