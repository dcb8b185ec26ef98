"""The protocol's bodies.

Unknown members are rejected and lists bounded: describing each bad item costs memory.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.answers import Answer

MAX_ID_CHARS = 128
MAX_NAME_CHARS = 64
MAX_DIMENSIONS = 8
MAX_TENSORS = 16


class RequestPart(BaseModel):
    """Base of all parts of a request."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class InputParameters(RequestPart):
    """How an input's data is given."""

    binary_data_size: int | None = Field(
        default=None, ge=0, description="Bytes of this tensor after the JSON, instead of `data`."
    )
    content_type: Literal["base64"] | None = Field(
        default=None, description="May say what is so in any case: `image_bytes` in JSON is base64."
    )


class InputTensor(RequestPart):
    """One input."""

    name: str = Field(max_length=MAX_NAME_CHARS, description="image_bytes or image.")
    shape: list[int] = Field(max_length=MAX_DIMENSIONS)
    datatype: str = Field(max_length=MAX_NAME_CHARS, description="BYTES or UINT8.")
    parameters: InputParameters | None = None
    data: list[Any] | None = Field(
        default=None, description="Nested or flat, row by row. Base64 texts for image_bytes."
    )


class OutputParameters(RequestPart):
    """How an output is requested."""

    binary_data: bool | None = Field(
        default=None, description="After the JSON instead of in it; else binary_data_output."
    )


class RequestedOutput(RequestPart):
    """One requested output."""

    name: str = Field(max_length=MAX_NAME_CHARS)
    parameters: OutputParameters | None = None


class RequestParameters(RequestPart):
    """Parameters of the whole request."""

    operating_point: str | None = Field(
        default=None, max_length=MAX_NAME_CHARS, description="Of the model; its default."
    )
    binary_data_output: bool | None = Field(
        default=None, description="Outputs follow the JSON unless they say otherwise."
    )


class InferRequest(RequestPart):
    """Body of an inference request, or its JSON part."""

    id: str | None = Field(default=None, max_length=MAX_ID_CHARS, description="Echoed.")
    model_name: str | None = Field(
        default=None, max_length=MAX_NAME_CHARS, description="If given, that of the path."
    )
    parameters: RequestParameters | None = None
    inputs: list[InputTensor] = Field(
        min_length=1, max_length=MAX_TENSORS, description="Exactly one: image_bytes or image."
    )
    outputs: list[RequestedOutput] | None = Field(
        default=None, max_length=MAX_TENSORS, description="All, if absent or empty."
    )


class ErrorAnswer(Answer):
    """Why a request failed."""

    error: str = Field(description="The kind of problem, what was wrong here, and what to do.")


class TensorMetadata(Answer):
    """A tensor. -1 is any number of images."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ServerMetadata(Answer):
    """What this server is."""

    name: str
    version: str
    extensions: tuple[str, ...]


class ModelParameters(Answer):
    """What a client needs to know beyond the tensors."""

    classes: tuple[str, ...] = Field(description="In the order of the probabilities.")
    positive_class: str = Field(description="The finding that is asked for.")
    operating_points: tuple[str, ...]
    default_operating_point: str


class ModelMetadata(Answer):
    """A model's tensors. A request has one input, and gets all outputs by default."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    parameters: ModelParameters


class ServerLive(Answer):
    """Answer to a probe."""

    live: bool


class ServerReady(Answer):
    """Answer to a probe."""

    ready: bool


class ModelReady(Answer):
    """Answer to a probe of one model."""

    name: str
    ready: bool


class IndexEntry(Answer):
    """One model of the repository."""

    name: str
    version: str
    state: str
    reason: str


class OutputAnswerParameters(Answer):
    """Where an output's data is."""

    binary_data_size: int = Field(description="Bytes of this tensor after the JSON.")


class OutputAnswer(Answer):
    """One output."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: OutputAnswerParameters | None = None
    data: list[Any] | None = Field(default=None, description="Flat, row by row.")


class InferAnswerParameters(Answer):
    """Parameters of the whole request."""

    operating_point: str = Field(description="At which was decided.")


class InferAnswer(Answer):
    """Body of an inference answer, or its JSON part."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: InferAnswerParameters
    outputs: tuple[OutputAnswer, ...]


BODIES = (ErrorAnswer, InferRequest)
"""Those that are read or written by hand, not by FastAPI."""
