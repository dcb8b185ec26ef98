"""From body to protocol request. Not for the event loop."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from cxr.bundles.manifest import Manifest
from service.errors import InvalidRequestError, PayloadTooLargeError
from service.http.json_body import BYTE_ORDER_MARK, describe_invalid
from service.http.v2.inputs import Files, Limits, Pixels, read_input
from service.http.v2.tensors import output_tensors
from service.http.v2.wire import InferRequest, RequestedOutput, RequestParameters, TensorMetadata

MAX_MEMBERS = 1000  # of all objects together; a request of every tensor there is has about 100
SPARE_VALUES = 1000  # beside those of the tensor: shapes, parameters, members


@dataclass(frozen=True)
class WantedOutput:
    """One output."""

    tensor: TensorMetadata
    binary: bool


@dataclass(frozen=True)
class Call:
    """A request: image files, or model inputs (N, 1, S, S), uint8."""

    id: str | None
    operating_point: str | None
    images: Files | Pixels
    outputs: tuple[WantedOutput, ...]


class CallForm(NamedTuple):
    """What a call of a model may ask: little of its manifest, which is sent with each."""

    model: str
    size_px: int
    outputs: tuple[TensorMetadata, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> CallForm:
        """Take it from the manifest."""
        return cls(manifest.name, manifest.preprocessing.size_px, output_tensors(manifest))


def parse_call(body: bytes, header_length: int | None, form: CallForm, max_images: int) -> Call:
    """Parse a decompressed body; ``header_length`` bytes are JSON (None for all).

    Raises:
        InvalidRequestError: It is malformed.
        PayloadTooLargeError: There are too many images.
    """
    limits = Limits(max_images, form.size_px)
    text, tail = _split_body(body, header_length)
    request = _parse_body(text, limits)
    if request.model_name not in (None, form.model):
        raise InvalidRequestError("model_name is not the model of the path. Leave it out.")
    parameters = request.parameters or RequestParameters()
    return Call(
        id=request.id,
        operating_point=parameters.operating_point,
        images=read_input(request.inputs, tail, limits),
        outputs=_wanted_outputs(request.outputs, bool(parameters.binary_data_output), form),
    )


def _wanted_outputs(
    wanted: list[RequestedOutput] | None, default: bool, form: CallForm
) -> tuple[WantedOutput, ...]:
    known = {tensor.name: tensor for tensor in form.outputs}
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


def _split_body(body: bytes, header_length: int | None) -> tuple[memoryview, memoryview]:
    whole = memoryview(body)
    if header_length is None:
        return whole, whole[:0]
    if header_length > len(whole):
        raise InvalidRequestError(
            "Inference-Header-Content-Length is larger than the body. Give the length of the JSON."
        )
    return whole[:header_length], whole[header_length:]


def _parse_body(text: memoryview, limits: Limits) -> InferRequest:
    raw = bytes(text).removeprefix(BYTE_ORDER_MARK)
    _verify_size(raw, limits)
    try:
        parsed = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique_members, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise InvalidRequestError(
            "The JSON is not valid: it is malformed, not UTF-8, nested too deep, or has a member "
            "twice. With binary tensors, Inference-Header-Content-Length tells where it ends."
        ) from None
    try:
        return InferRequest.model_validate(parsed)
    except ValidationError as error:
        raise InvalidRequestError(
            f"{describe_invalid(error)} See the Open Inference Protocol, version 2."
        ) from None


def _verify_size(raw: bytes, limits: Limits) -> None:
    if (
        raw.count(b":") > MAX_MEMBERS
        or raw.count(b",") > limits.values + SPARE_VALUES
        or raw.count(b"[") + raw.count(b"{") > limits.rows + SPARE_VALUES
    ):
        raise PayloadTooLargeError(
            f"The JSON is larger than {limits.images} images of {limits.side_px} x "
            f"{limits.side_px} pixels need. Send fewer images, or binary tensors."
        )


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is given twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")
