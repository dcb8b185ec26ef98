"""The radiographs that are sent."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from export.phantom import draw_phantom, encode_jpeg

ROOT = Path(__file__).parent.parent

ORIGINALS = "originals"
PHANTOMS = "drawn phantoms, no originals were found"
PHANTOM_COUNT = 24
PHANTOM_SIZES = ((1857, 1317), (1422, 1152), (1040, 736), (2090, 1858))
"""Width and height of pictures in the Kermany set: what is posted, not what is trained on."""

SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})


@dataclass(frozen=True)
class Files:
    """Files to send.

    Attributes:
        paths: In the order they are sent, large and small mixed.
        kind: What they are, for the report.
    """

    paths: tuple[Path, ...]
    kind: str

    @property
    def mean_bytes(self) -> float:
        """Mean size of a file."""
        return sum(path.stat().st_size for path in self.paths) / len(self.paths)

    @property
    def typical(self) -> Path:
        """The file of median size: what a lone request is timed with."""
        return sorted(self.paths, key=lambda path: path.stat().st_size)[len(self.paths) // 2]


def default_originals() -> Path:
    """Give the folder of originals in the shared data, whether it exists or not."""
    shared = os.environ.get("CXR_SHARED_DATA", ROOT.parent / "shared" / "data")
    return Path(shared) / ORIGINALS


def find_files(folder: Path | None, cache: Path) -> Files:
    """Give the originals, or draw phantoms at the same size where there are none.

    Args:
        folder: Of images; the shared originals if None.
        cache: Where phantoms are written.

    Raises:
        FileNotFoundError: A folder was named and holds no image.
    """
    source = folder or default_originals()
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if found:
        random.Random(0).shuffle(found)  # noqa: S311 - no secret; the same order in every run
        return Files(tuple(found), ORIGINALS if folder is None else source.name)
    if folder is not None:
        raise FileNotFoundError(f"no JPEG or PNG file in {folder}")
    return Files(tuple(_draw_phantom(cache, i) for i in range(PHANTOM_COUNT)), PHANTOMS)


def _draw_phantom(cache: Path, number: int) -> Path:
    path = cache / f"phantom-{number:02d}.jpeg"
    if not path.is_file():
        size = PHANTOM_SIZES[number % len(PHANTOM_SIZES)]
        drawn = Image.fromarray(draw_phantom(number, opacity=(number % 3) / 2))
        pixels = np.asarray(drawn.resize(size, Image.Resampling.BICUBIC))
        cache.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(pixels))
    return path
