"""ONNX Runtime options that export and the service share; does not import ONNX Runtime."""

from __future__ import annotations

from typing import Any, Final

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

LOG_ERRORS_ONLY = 3  # ONNX Runtime's severities: below are remarks on graph optimisation

CONFIG_ENTRIES = {
    # Threads that spin while they wait steal from those that decode.
    "session.intra_op.allow_spinning": "0",
}


def configure_session(options: Any, threads: int = 1) -> Any:
    """Set the options of an ``onnxruntime.SessionOptions`` in place and return it.

    The service runs one thread per core: threads that share a run wait for the slowest of them.
    """
    levels = type(options.graph_optimization_level)
    options.graph_optimization_level = levels.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1  # the graphs are chains: nothing to run side by side
    options.log_severity_level = LOG_ERRORS_ONLY
    for name, value in CONFIG_ENTRIES.items():
        options.add_session_config_entry(name, value)
    return options


def cuda_options(device_id: int = 0, *, graphs: bool = False) -> dict[str, str]:
    """Return the options of the CUDA provider."""
    return {
        "device_id": str(device_id),
        # TF32 would round the mantissa to 10 bits: not the fp32 that the manifest's parity is for.
        "use_tf32": "0",
        "enable_cuda_graph": str(int(graphs)),
    }
