"""What an explanation costs, and what it costs the predictions beside it.

``python benchmarks/explain_cost.py`` prints two tables: Grad-CAM against forward passes of the
same network in the same precision, run alternately so that a busy machine slows both; and the
latency of predictions over HTTP, with and without a steady load of explanations.
"""

from __future__ import annotations

import argparse
import copy
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from cxr.bundle import open_bundle  # noqa: E402
from cxr.explain.grad_cam import GradCam  # noqa: E402
from cxr.networks.served import ServedNetwork, served_network  # noqa: E402
from export.phantom import draw_phantom, encode_jpeg  # noqa: E402
from tests.live import running_server  # noqa: E402

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WARM_UP = 3


def forward_pass(
    served: ServedNetwork, images: np.ndarray, dtype: torch.dtype, *, bare: bool
) -> Callable[[], object]:
    """Give the pass an explanation is measured against.

    It is built as favourably as the explanation's own: channels last, weights in ``dtype``, no
    gradients. ``bare`` runs the network once, without the mirrored pass that is served.
    """
    network = copy.deepcopy(served.network).to(dtype=dtype).to(memory_format=torch.channels_last)
    pixels = torch.from_numpy(images)

    def run() -> object:
        with torch.inference_mode():
            normalised = served.normalise(pixels)
            views = [normalised, normalised.flip(3)] if served.mirror and not bare else [normalised]
            return [
                network(view.to(dtype).contiguous(memory_format=torch.channels_last)).float()
                for view in views
            ]

    return run


def measure_alternately(
    tasks: dict[str, Callable[[], object]], seconds: float
) -> dict[str, list[float]]:
    """Run the tasks in turn and give the milliseconds of each run."""
    for task in tasks.values():
        for _ in range(WARM_UP):
            task()
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            taken[name].append((time.perf_counter() - started) * 1000)
    return taken


def print_cost(bundles: Path, seconds: float, threads: int) -> None:
    """Print Grad-CAM's cost in forward passes."""
    torch.set_num_threads(threads)
    print(
        "| model | precision | batch | served pass ms | explain ms | ratio | bare pass ms | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for path in sorted(bundles.iterdir()):
        bundle = open_bundle(path)
        served = served_network(bundle.weights_path, bundle.manifest)
        size = bundle.manifest.preprocessing.size_px
        for precision, dtype in DTYPES.items():
            grad_cam = GradCam(served, dtype)
            for batch in (1, 4):
                images = np.random.default_rng(0).integers(
                    0, 256, (batch, 1, size, size), dtype=np.uint8
                )
                tasks = {
                    "served": forward_pass(served, images, dtype, bare=False),
                    "explain": partial(grad_cam.explain, images, [1] * batch, ["gradcam"] * batch),
                    "bare": forward_pass(served, images, dtype, bare=True),
                }
                taken = measure_alternately(tasks, seconds)
                ms = {name: median(runs) for name, runs in taken.items()}
                # Of neighbouring runs, so that what slows the machine slows both.
                ratios = {
                    name: median(np.array(taken["explain"]) / np.array(taken[name]))
                    for name in ("served", "bare")
                }
                print(
                    f"| {bundle.manifest.name} | {precision} | {batch} | {ms['served']:.1f} "
                    f"| {ms['explain']:.1f} | {ratios['served']:.2f} | {ms['bare']:.1f} "
                    f"| {ratios['bare']:.2f} |",
                    flush=True,
                )


def measure_predictions(address: str, file: bytes, seconds: float, explainers: int) -> list[float]:
    """Give the milliseconds of predictions, one after another, beside explaining clients."""
    stop, explained = threading.Event(), []

    def explain() -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            while not stop.is_set():
                client.post("/v1/explain", content=file).raise_for_status()
                explained.append(1)

    threads = [threading.Thread(target=explain) for _ in range(explainers)]
    for thread in threads:
        thread.start()
    taken = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(WARM_UP):
            client.post("/v1/predict", content=file).raise_for_status()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            client.post("/v1/predict", content=file).raise_for_status()
            taken.append((time.perf_counter() - started) * 1000)
            time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    print(
        f"| {explainers} | {len(taken)} | {np.quantile(taken, 0.5):.1f} "
        f"| {np.quantile(taken, 0.99):.1f} | {len(explained) / seconds:.1f} |",
        flush=True,
    )
    return taken


def print_predictions(bundles: Path, seconds: float) -> None:
    """Print the latency of predictions beside explanations."""
    file = encode_jpeg(draw_phantom(0, 0.5))
    print("| explaining clients | predictions | p50 ms | p99 ms | explanations/s |")
    print("|---|---|---|---|---|")
    with running_server(bundles) as server:
        for explainers in (0, 2, 0, 2):
            measure_predictions(server.address, file, seconds, explainers)


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundles", type=Path, default=ROOT / "bundles")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=1, help="PyTorch's, in the first table")
    parser.add_argument("--only", choices=("cost", "predictions"))
    given = parser.parse_args()
    if given.only != "predictions":
        print_cost(given.bundles, given.seconds, given.threads)
    if given.only != "cost":
        print_predictions(given.bundles, given.seconds)


if __name__ == "__main__":
    main()
