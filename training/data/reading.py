"""Reading many images, in threads, with a bar that shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

ThingT = TypeVar("ThingT")
ResultT = TypeVar("ResultT")


def map_over_images(
    work: Callable[[ThingT], ResultT], images: Sequence[ThingT], workers: int, quiet: bool
) -> list[ResultT]:
    """Call a function with each image, in threads.

    Args:
        work: Releases the GIL for most of its time, as decoding does.
        images: What it is called with.
        workers: Threads.
        quiet: Show no progress bar.

    Returns:
        Its results, in the order of the images. What it raises is raised.
    """
    with ThreadPoolExecutor(workers) as pool:
        results = tqdm(
            pool.map(work, images),
            total=len(images),
            desc="reading images",
            unit="image",
            disable=quiet,
            dynamic_ncols=True,
        )
        return list(results)
