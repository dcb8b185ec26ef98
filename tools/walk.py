"""How many of our files and functions one request crosses: ``python -m tools.walk predict``."""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from export.phantom import draw_phantom, encode_jpeg
from service.app.application import build_app
from service.engines.registry import build_engine
from service.explain.building import build_explainer
from service.models.runtime import Runtime
from service.settings import Settings
from service.telemetry.logs import configure_logging

ROOT = Path(__file__).parents[1]
WARM_UP = 2  # requests: what is cached is not crossed every time


@dataclass
class Walk:
    """What one request crossed.

    Attributes:
        functions: Names of functions by file; comprehensions are part of the function they are in.
        changes: How often the next call was into another file.
    """

    functions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    changes: int = 0
    _last: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take a call in, as a function for ``sys.setprofile``."""
        path, name = frame.f_code.co_filename, frame.f_code.co_qualname
        if (
            event != "call"
            or not path.startswith(f"{ROOT}/")
            or "/site-packages/" in path
            or path == __file__
        ):
            return
        if name.endswith("comp>") or name.endswith("<genexpr>"):
            return
        with self._lock:
            file = path.removeprefix(f"{ROOT}/")
            self.functions[file].add(name)
            self.changes += file != self._last
            self._last = file

    def report(self) -> str:
        """Return the figures, then each file with its functions."""
        count = sum(map(len, self.functions.values()))
        lines = [f"{len(self.functions)} files, {count} functions, {self.changes} changes of file"]
        for file, names in sorted(self.functions.items()):
            lines.append(f"  {file}: {', '.join(sorted(names))}")
        return "\n".join(lines)


async def walk(route: str, body: bytes, bundles: Path) -> Walk:
    """Send a request to the whole application and record the calls it causes on all threads.

    Args:
        route: ``predict`` or ``explain``.
        body: A JPEG, PNG or DICOM file.
        bundles: Folder of bundles.

    Raises:
        RuntimeError: The request was not answered with 200.
    """
    found, is_on = Walk(), False

    def hook(frame: FrameType, event: str, argument: Any) -> None:
        if is_on:
            found.note(frame, event, argument)

    configure_logging("INFO", io.StringIO())
    threading.setprofile(hook)  # of threads that begin from now on
    settings = Settings(
        bundles_dir=str(bundles), access="anonymous", explain="on" if route == "explain" else "off"
    )
    runtime = Runtime(settings, build_engine, build_explainer if route == "explain" else None)
    loaded = asyncio.Event()
    app = build_app(runtime, lambda _: loaded.set())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://walk") as client,
    ):
        await loaded.wait()
        await runtime.explainers_came()
        for _ in range(WARM_UP):
            await client.post(f"/v1/{route}", content=body)
        sys.setprofile(hook)
        is_on = True
        answer = await client.post(f"/v1/{route}", content=body)
        is_on = False
        sys.setprofile(None)
    threading.setprofile(None)
    if answer.status_code != 200:
        raise RuntimeError(f"answered with {answer.status_code}")
    return found


def main() -> int:
    """Print the walk of a request."""
    parser = argparse.ArgumentParser(prog="python -m tools.walk", description=__doc__)
    parser.add_argument("route", choices=("predict", "explain"))
    parser.add_argument("--file", type=Path, help="an image; a drawn one by default")
    parser.add_argument("--bundles", type=Path, default=ROOT / "bundles")
    args = parser.parse_args()
    body = args.file.read_bytes() if args.file else encode_jpeg(draw_phantom(1, 0.0))
    print(asyncio.run(walk(args.route, body, args.bundles)).report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
