"""Export a served network, and what explains it, to ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import optimizer

from cxr.bundles.manifest import EXPLAIN_OUTPUTS, Tensors
from cxr.networks.served import ExplainedNetwork, ServedNetwork

OPSET = 23  # the newest that ONNX Runtime's CPU and CUDA providers and PyTorch's exporter share

_TRACE_BATCH = 2  # 1 would be specialised into the graph


def embedding_size(served: ServedNetwork, size_px: int) -> int:
    """Return the length D of the embedding."""
    with torch.inference_mode():
        return int(
            served(torch.zeros(1, 1, size_px, size_px, dtype=torch.uint8)).embedding.shape[1]
        )


def export_graph(served: ServedNetwork, size_px: int, path: Path, tensors: Tensors) -> None:
    """Write and check the ONNX file of a network in evaluation mode."""
    outputs = (tensors.logits, tensors.probabilities, tensors.embedding)
    model = _trace(served, size_px, tensors.image, outputs, optimise=True).model_proto
    _without_traces(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)


def explain_graph(served: ServedNetwork, size_px: int, tensors: Tensors) -> onnx.ModelProto:
    """Return the graph of what heatmaps follow from, whose initializers are the network's weights.

    Raises:
        NotImplementedError: The network has no gradients in closed form.
    """
    explained = ExplainedNetwork(served).eval()
    # Fully optimised, weights would be folded into others that are in no file yet.
    program = _trace(explained, size_px, tensors.image, EXPLAIN_OUTPUTS, optimise=False)
    optimizer.fold_constants(program.model, should_fold=_keeps_weights)
    optimizer.remove_unused_nodes(program.model)
    model = program.model_proto
    _without_traces(model)
    return model


def _keeps_weights(node: Any) -> bool | None:
    # Transposed weights would be further ones. Whatever else is large is not folded anyway.
    return False if node.op_type == "Transpose" else None


def _trace(
    network: torch.nn.Module, size_px: int, image: str, outputs: Sequence[str], *, optimise: bool
) -> torch.onnx.ONNXProgram:
    images = torch.zeros(_TRACE_BATCH, 1, size_px, size_px, dtype=torch.uint8)
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on its own deprecations
        program = torch.onnx.export(
            network,
            (images,),
            input_names=[image],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("N", min=1, max=1024)},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=optimise,
            verbose=False,
        )
    assert program is not None  # it is None only without dynamo
    return program


def _without_traces(model: onnx.ModelProto) -> None:
    """Drop stack traces, which hold paths of the machine."""
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    del graph.metadata_props[:]
    graph.doc_string = ""
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
