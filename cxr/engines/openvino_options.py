"""How graphs are compiled in OpenVINO: the same where they are compared and where served.

Plain values under OpenVINO's own names of its properties; this module imports nothing of it.
"""

from __future__ import annotations

from typing import Final

DEVICE: Final = "CPU"

HINT: Final = "INFERENCE_PRECISION_HINT"

HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}
"""What floats are computed in; of an int8 graph, those parts that stay float. Left alone, OpenVINO
would take bfloat16 on CPUs that have it."""


def openvino_options(precision: str, *, threads: int = 1, streams: int = 0) -> dict[str, object]:
    """Return the properties a graph is compiled with.

    Args:
        precision: One of ``HINTS``.
        threads: Threads of one run; 0 for as many as OpenVINO likes.
        streams: Runs that OpenVINO keeps going by itself. 0 as in the service leaves a run in the
            thread that asks for it, which saves two changes of thread.
    """
    return {
        HINT: HINTS[precision],
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # Pinned, the first thread of every process would share one core.
        "ENABLE_CPU_PINNING": False,
    }


def hint_of(given: object) -> str:
    """Return the hint that OpenVINO says it computes by, as ``HINTS`` names it.

    Args:
        given: The property of a compiled graph: a text, or an ``openvino.Type``.
    """
    name = getattr(given, "get_type_name", None)
    return str(name() if name is not None else given)
