"""Parts of the parser that several commands share."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_tls(command: argparse.ArgumentParser) -> None:
    """Add ``--tls-certificate`` and ``--tls-key``."""
    command.add_argument("--tls-certificate", metavar="PEM", help="answer over TLS with this chain")
    command.add_argument("--tls-key", metavar="PEM", help="its key")
