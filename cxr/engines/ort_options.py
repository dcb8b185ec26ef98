"""How graphs are opened in ONNX Runtime: the same where they are compared and where served.

Export and the service pass ONNX Runtime's objects in; this module imports nothing of it.
"""

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
    """Set the options of a session.

    Args:
        options: An ``onnxruntime.SessionOptions``, changed in place.
        threads: Threads of one run. The service takes one, and a run per core: beside a busy
            neighbour, threads that share a run wait for the slowest of them.

    Returns:
        The same object.
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
    """Return the options of the CUDA provider.

    Args:
        device_id: Number of the CUDA device.
        graphs: Whether runs are captured as CUDA graphs and replayed.
    """
    return {
        "device_id": str(device_id),
        # TF32 would round the mantissa to 10 bits: not the fp32 that the manifest's parity is for.
        "use_tf32": "0",
        "enable_cuda_graph": str(int(graphs)),
    }
