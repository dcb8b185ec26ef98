"""OpenVINO properties that export and the service share; does not import OpenVINO."""

from __future__ import annotations

from typing import Final

DEVICE: Final = "CPU"

HINT: Final = "INFERENCE_PRECISION_HINT"

HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}
"""What floats are computed in; of an int8 graph, those parts that stay float. Left alone, OpenVINO
would take bfloat16 on CPUs that have it."""


def openvino_options(precision: str, *, threads: int = 1, streams: int = 0) -> dict[str, object]:
    """Return the properties a graph is compiled with.

    0 ``threads`` leaves their number to OpenVINO. 0 ``streams``, as in the service, leaves a run in
    the thread that asks for it, which saves two thread switches.
    """
    return {
        HINT: HINTS[precision],
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # Pinned, the first thread of every process would share one core.
        "ENABLE_CPU_PINNING": False,
    }


def hint_of(given: object) -> str:
    """Return a compiled graph's precision hint as in ``HINTS``."""
    name = getattr(given, "get_type_name", None)
    return str(name() if name is not None else given)
