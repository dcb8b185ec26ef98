"""A CUDA device: its limit by precision and bucket, and how much of it arrives at clients."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.contest import measure_server
from benchmarks.engine import build_engine, bundle_of
from benchmarks.files import Files
from benchmarks.options import Options
from benchmarks.server import start_service
from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import FP32
from service.engines.buckets import bucket_sizes
from service.engines.cuda_driver import has_cuda_device
from service.engines.protocol import Engine, StagingEngine
from service.engines.tensorrt import has_tensorrt
from service.settings import Settings

ABSENT = "No CUDA device was found, so nothing was measured on one."
CONCURRENCY = 256
WARM_UP = 3
SMALL_SIDE_PX = 512
SMALL_COUNT = 16
ON_DEVICE = (FP32, "fp16")


@dataclass(frozen=True)
class Way:
    """A way to run a model on the device.

    Attributes:
        name: For the table.
        variables: The CXR_* variables that choose it.
    """

    name: str
    variables: dict[str, str]


def ways(offered: tuple[str, ...], with_tensorrt: bool) -> list[Way]:
    """List the ways to run a bundle: each precision, with and without CUDA graphs, and TensorRT.

    Args:
        offered: Precisions of the bundle beside fp32.
        with_tensorrt: Whether its libraries are there.
    """
    found = []
    for precision in ON_DEVICE:
        if precision not in (FP32, *offered):
            continue
        cuda = {"CXR_PROVIDER": "cuda", "CXR_PRECISION": precision}
        found.append(Way(f"CUDA {precision}, graphs", cuda | {"CXR_CUDA_GRAPHS": "on"}))
        found.append(Way(f"CUDA {precision}", cuda | {"CXR_CUDA_GRAPHS": "off"}))
        if with_tensorrt:
            tensorrt = {"CXR_PROVIDER": "tensorrt", "CXR_PRECISION": precision}
            found.append(Way(f"TensorRT {precision}", tensorrt))
    return found


def measure_buckets(engine: Engine, size_px: int, max_batch: int, seconds: float) -> dict[str, Any]:
    """Run each bucket again and again; give images per second by bucket.

    Args:
        engine: Of any device.
        size_px: Side of the model input.
        max_batch: Largest bucket.
        seconds: Of each bucket.
    """
    rates = {}
    for bucket in bucket_sizes(max_batch):
        images = np.zeros((bucket, 1, size_px, size_px), dtype=np.uint8)
        if isinstance(engine, StagingEngine):  # as the service stacks batches
            images = engine.new_batch(bucket)
        for _ in range(WARM_UP):
            engine.run(images)
        runs, started_s = 0, time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            engine.run(images)
            runs += 1
        rates[str(bucket)] = runs * bucket / (time.perf_counter() - started_s)
    return rates


def measure_gpu(options: Options, files: Files) -> dict[str, Any]:
    """Measure on the CUDA device if there is one, and give the results as JSON."""
    if not has_cuda_device():
        return {"absent": ABSENT}
    settings = options.settings | {"CXR_PROVIDER": "cuda"}
    sources = {
        f"{files.kind}, {CONCURRENCY} clients": files.paths,
        f"{SMALL_SIDE_PX} px, {CONCURRENCY} clients": small_files(files, options.cache / "small"),
    }
    models = {
        name: _measure_model(name, options, settings, sources, files.typical.read_bytes())
        for name in options.models
    }
    return {"device": device_name(settings_from(settings).device_id), "models": models}


def settings_from(variables: dict[str, str]) -> Settings:
    """Read settings from text, as the service reads them from its environment."""
    values: dict[str, Any] = {k.removeprefix("CXR_").lower(): v for k, v in variables.items()}
    return Settings(**values)


def _measure_model(
    name: str,
    options: Options,
    variables: dict[str, str],
    sources: dict[str, tuple[Path, ...]],
    sample: bytes,
) -> dict[str, Any]:
    bundle = bundle_of(options.bundles, name)
    rates = {
        way.name: _measure_way(bundle, variables | way.variables, options.seconds / 2)
        for way in ways(tuple(bundle.manifest.precisions), has_tensorrt())
    }
    limit = max(rate for by_bucket in rates.values() for rate in by_bucket.values())
    end_to_end = {}
    with start_service(options.bundles, name, sample, variables) as server:
        for kind, paths in sources.items():
            figures = measure_server(server, paths, CONCURRENCY, options.seconds)
            end_to_end[kind] = {
                "per_s": figures["per_s"],
                "of_device": figures["per_s"] / limit,
                "p99_ms": figures["summary"]["p99_ms"],
                "cores": figures["cores"],
            }
    return {"per_s_by_way": rates, "limit_per_s": limit, "end_to_end": end_to_end}


def _measure_way(bundle: Bundle, variables: dict[str, str], seconds: float) -> dict[str, Any]:
    settings = settings_from(variables)
    engine = build_engine(bundle, settings)
    size = bundle.manifest.preprocessing.size_px
    return measure_buckets(engine, size, settings.max_batch, seconds)


def small_files(files: Files, cache: Path) -> tuple[Path, ...]:
    """Give some of the files made small: what decoding costs least, so the device is the limit."""
    cache.mkdir(parents=True, exist_ok=True)
    small = []
    for number, path in enumerate(files.paths[:SMALL_COUNT]):
        with Image.open(path) as picture:
            buffer = io.BytesIO()
            gray = picture.convert("L").resize((SMALL_SIDE_PX, SMALL_SIDE_PX))
            gray.save(buffer, "JPEG", quality=90)
        small.append(cache / f"{number:02d}.jpeg")
        small[-1].write_bytes(buffer.getvalue())
    return tuple(small)


def device_name(device_id: int) -> str:
    """Give the name of a CUDA device."""
    import torch

    return torch.cuda.get_device_name(device_id)
