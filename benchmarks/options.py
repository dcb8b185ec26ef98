"""What a run is told."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import ROOT

PARTS = (
    *("generator", "rounds", "mosec", "peers", "overload", "memory", "processes", "explain"),
    *("start", "workers", "gpu"),
)
IN_ROUNDS = frozenset({"rounds", "mosec", "peers", "overload"})
OF_THE_RUN = frozenset({"generator", "start", "workers", "gpu"})
"""Measured once, whatever the models."""
MODELS = ("resnet18", "small_cnn")
SERVING = {"CXR_EXPLAIN": "off", "CXR_PROVIDER": "cpu"}
"""What predictions are measured with, besides the defaults."""


@dataclass(frozen=True)
class Options:
    """A run's options.

    Attributes:
        models: Names of the bundles.
        parts: What to measure; ``mosec`` is that peer on the int8 graph, ``peers`` all on all.
        bundles: Folder of bundles.
        data: Folder of images; None for the shared originals, or phantoms.
        cache: Environments of the peers, drawn phantoms.
        settings: CXR_* variables of the service, and of the engine of the limit.
        rounds: How often everything is measured; the median counts.
        seconds: Of each measurement.
        peer_capacity: Requests a peer takes before it refuses.
        int8: ONNX file the peers get as int8; None: the bundle's, if there is one.
    """

    models: tuple[str, ...]
    parts: frozenset[str]
    bundles: Path
    data: Path | None
    cache: Path
    settings: dict[str, str]
    rounds: int
    seconds: float
    peer_capacity: int
    int8: Path | None


def default_cache() -> Path:
    """Give the folder of what is made once: inside no checkout."""
    return Path(tempfile.gettempdir()) / "cxr-benchmarks"


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every measuring command takes."""
    parser.add_argument("--bundles", type=Path, default=ROOT / "bundles", metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="DIR", help="images; the shared originals")
    parser.add_argument("--cache", type=Path, default=default_cache(), metavar="DIR")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="CXR_X=Y",
        help="a setting of the service; may be given often",
    )


def add_rounds(parser: argparse.ArgumentParser) -> None:
    """Add what measuring in rounds takes."""
    add_common(parser)
    parser.add_argument("--model", action="append", choices=MODELS, help="both if not given")
    parser.add_argument("--quick", action="store_true", help="one short round; to try things")
    parser.add_argument("--rounds", type=int, help="3, or 1 if quick")
    parser.add_argument("--seconds", type=float, help="of each measurement; 10, or 4 if quick")
    parser.add_argument("--out", type=Path, default=Path("results.json"), metavar="JSON")
    parser.set_defaults(only=None, peer_capacity=0, int8=None)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add what the command ``run`` takes."""
    add_rounds(parser)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--peer-capacity", type=int, default=32, metavar="N")
    parser.add_argument("--int8", type=Path, metavar="ONNX", help="graph the peers get as int8")


def options_of(given: argparse.Namespace, serving: Mapping[str, str] = SERVING) -> Options:
    """Give the options of a command that measures in rounds.

    Args:
        given: What was given.
        serving: Settings that hold where none is given.
    """
    return Options(
        models=tuple(given.model or MODELS),
        parts=frozenset(given.only or PARTS),
        bundles=given.bundles.resolve(),
        data=given.data,
        cache=given.cache.resolve(),
        settings={**serving, **dict(given.set)},
        rounds=given.rounds or (1 if given.quick else 3),
        seconds=given.seconds or (4.0 if given.quick else 10.0),
        peer_capacity=given.peer_capacity,
        int8=given.int8 and given.int8.resolve(),
    )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.startswith("CXR_")):
        raise argparse.ArgumentTypeError(f"{text} is not CXR_NAME=value")
    return name, value
