"""Licences of everything that is installed, and whether a user gets one that we do not want."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from tools.supply.lock import PROJECT, normalised

GPL = re.compile(r"\b(A?GPL|GNU (Affero )?General Public)", re.IGNORECASE)
EXCEPTION = re.compile(r"\bWITH\b.*\bexception\b|-with-.*-exception", re.IGNORECASE)
"""GCC's runtime inside a wheel: its exception lets anyone ship it."""

READ = {
    "axe-playwright-python": "MIT (its LICENSE file)",
    "cuda-toolkit": "NVIDIA Proprietary Software (names the packages of the toolkit, nothing else)",
}
"""Packages whose metadata tell no licence, with what was found by reading them."""

UNKNOWN = "unknown"
SENTENCE = 60  # a longer text is the licence, not its name


@dataclass(frozen=True)
class Row:
    """One package.

    Attributes:
        name: As it is published.
        version: As it is installed.
        licence: Its name or expression.
        is_default: Whether a user installs it who asks for no extra.
    """

    name: str
    version: str
    licence: str
    is_default: bool

    @property
    def is_refused(self) -> bool:
        """Whether a user would get what must not be in the product, or what nobody knows."""
        return self.is_default and (self.licence == UNKNOWN or is_copyleft(self.licence))


def is_copyleft(licence: str) -> bool:
    """Whether an expression (SPDX, or words) leaves no choice but the GPL or AGPL."""
    return any(
        all(GPL.search(choice) and not EXCEPTION.search(choice) for choice in _choices(part))
        for part in re.split(r"\s+and\s+", licence, flags=re.IGNORECASE)
    )


def _choices(part: str) -> list[str]:
    return re.split(r"\s+or\s+(?!later)", part, flags=re.IGNORECASE)


def licence_of(name: str, told: metadata.PackageMetadata) -> str:
    """Read a package's licence: its expression (PEP 639), its short name, or its classifiers."""
    if "License-Expression" in told:
        return told["License-Expression"]
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in told.get_all("Classifier") or []
        if one.startswith("License :: ") and one != "License :: OSI Approved"
    ]
    short = (told["License"] or "").strip()
    if short and "\n" not in short and len(short) <= SENTENCE:
        return short
    return " AND ".join(classifiers) or READ.get(normalised(name), UNKNOWN)


def default_packages(requirements: Iterable[str]) -> set[str]:
    """Give all that requirements install, and what these require in turn."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        extras = wanted.extras or {""}
        name = normalised(wanted.name)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        if name in found and not wanted.extras:
            continue
        found.add(name)
        try:
            required = metadata.requires(wanted.name) or []
        except metadata.PackageNotFoundError:
            continue
        for text in required:
            one = Requirement(text)
            if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in extras):
                one.marker = None
                if normalised(one.name) not in found or one.extras:
                    waiting.append(one)
    return found


def read_rows() -> list[Row]:
    """Give a row for each installed package."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    default = default_packages(project["dependencies"])
    rows = {
        normalised(one.name): Row(
            one.name,
            one.version,
            licence_of(one.name, one.metadata),
            normalised(one.name) in default,
        )
        for one in metadata.distributions()
        if normalised(one.name) != normalised(project["name"])
    }
    return [rows[name] for name in sorted(rows)]


def run_licences() -> int:
    """Print the table; 1 if a user would get what must not be there."""
    rows = read_rows()
    print("| package | version | licence | installed by default |\n|---|---|---|---|")
    for row in rows:
        default = "yes" if row.is_default else "no"
        print(f"| {row.name} | {row.version} | {row.licence} | {default} |")
    refused = [row for row in rows if row.is_refused]
    for row in refused:
        print(f"\nNOT WANTED in what a user installs by default: {row.name}, {row.licence}")
    return 1 if refused else 0
