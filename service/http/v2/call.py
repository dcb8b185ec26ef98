"""What one inference request asks."""

from __future__ import annotations

from dataclasses import dataclass

from cxr.bundles.manifest import Manifest
from service.errors import InvalidRequestError
from service.http.v2.binary import split_body
from service.http.v2.body import Limits, parse_body
from service.http.v2.inputs import Files, Pixels, read_input
from service.http.v2.tensors import output_tensors
from service.http.v2.wire import RequestedOutput, RequestParameters, TensorMetadata


@dataclass(frozen=True)
class WantedOutput:
    """One output that is wanted.

    Attributes:
        tensor: Which.
        binary: Whether it follows the JSON.
    """

    tensor: TensorMetadata
    binary: bool


@dataclass(frozen=True)
class Call:
    """One inference request, understood.

    Attributes:
        id: To be echoed, None if none was given.
        operating_point: Its name, None for the model's default.
        images: Encoded files, or model inputs of shape (N, 1, S, S), uint8.
        outputs: In the order they were asked for.
    """

    id: str | None
    operating_point: str | None
    images: Files | Pixels
    outputs: tuple[WantedOutput, ...]


def parse_call(body: bytes, header_length: int | None, manifest: Manifest, max_images: int) -> Call:
    """Read a request. Takes as long as the body is large: not for the event loop.

    Args:
        body: All of it, decompressed.
        header_length: Bytes of its JSON part; None if it is JSON alone.
        manifest: Of the model that is asked.
        max_images: Most images it may hold.

    Raises:
        InvalidRequestError: It is malformed; the message says where.
        PayloadTooLargeError: Too many images.
    """
    limits = Limits(max_images, manifest.preprocessing.size_px)
    text, tail = split_body(body, header_length)
    request = parse_body(text, limits)
    if request.model_name not in (None, manifest.name):
        raise InvalidRequestError("model_name is not the model of the path. Leave it out.")
    parameters = request.parameters or RequestParameters()
    return Call(
        id=request.id,
        operating_point=parameters.operating_point,
        images=read_input(request.inputs, tail, limits),
        outputs=_wanted_outputs(request.outputs, bool(parameters.binary_data_output), manifest),
    )


def _wanted_outputs(
    wanted: list[RequestedOutput] | None, default: bool, manifest: Manifest
) -> tuple[WantedOutput, ...]:
    known = {tensor.name: tensor for tensor in output_tensors(manifest)}
    if not wanted:
        return tuple(WantedOutput(tensor, default) for tensor in known.values())
    names = [output.name for output in wanted]
    if not known.keys() >= set(names):
        raise InvalidRequestError(f"Unknown output. Known are: {', '.join(known)}.")
    if len(set(names)) < len(names):
        raise InvalidRequestError("An output is asked for more than once.")
    return tuple(WantedOutput(known[one.name], _is_binary(one, default)) for one in wanted)


def _is_binary(output: RequestedOutput, default: bool) -> bool:
    if output.parameters is None or output.parameters.binary_data is None:
        return default
    return output.parameters.binary_data
