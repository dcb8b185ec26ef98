"""Settings of the service."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticKnownError
from pydantic_settings import SettingsConfigDict

from cxr.pixels.image import DEFAULT_MAX_PIXELS
from cxr.verdict.populations import Unfamiliar
from service.settings.access import AccessSettings
from service.settings.environment import GATEWAY_PREFIX, PREFIX, read_settings
from service.settings.texts import parsed_from

MIB = 1024 * 1024
SHADOWS = re.compile(r"^$|^[^@,]+@\d+\.\d+\.\d+\s*(,[^@,]+@\d+\.\d+\.\d+\s*)*$")

Provider = Literal["auto", "cuda", "cpu", "tensorrt"]
EngineName = Literal["auto", "onnxruntime", "openvino"]
PrecisionName = Literal["auto", "fp32", "int8", "bf16", "fp16"]


class ModelVersion(NamedTuple):
    """A model; an empty version stands for the newest."""

    name: str
    version: str


def parse_models(text: str) -> tuple[ModelVersion, ...]:
    """Read names and versions divided by commas."""
    listed = (one.strip() for one in text.split(",") if one.strip())
    return tuple(ModelVersion(*one.partition("@")[::2]) for one in listed)


def _parse_shadows(text: str) -> tuple[ModelVersion, ...]:
    if not SHADOWS.search(text):
        raise PydanticKnownError("string_pattern_mismatch", {"pattern": SHADOWS.pattern})
    return parse_models(text)


def _current(explain: object) -> object:
    return "auto" if explain == "on" else explain


class Settings(AccessSettings):
    """Settings of the service, each read from ``CXR_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    bundles_dir: str = Field("bundles", description="Folder of bundles, or one bundle.")
    models: Annotated[tuple[ModelVersion, ...], *parsed_from(parse_models)] = Field(
        (),
        description="Names of the models to load, with commas; empty for all. `name@version` holds "
        "a model to a version; without, the newest that can be used is.",
    )
    default_model: str = Field(
        "",
        description="Model of requests that name none; empty: resnet18 if loaded, else the first.",
    )
    provider: Provider = Field(
        "auto",
        description="Where models run; auto takes CUDA if there is a device, else the CPU. "
        "TensorRT has to be asked for: its libraries are not among the dependencies.",
    )
    device_id: int = Field(
        0,
        ge=0,
        le=127,
        description="Number of the CUDA device; one process serves one device.",
    )
    cuda_graphs: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether runs on CUDA are captured once per batch size and replayed; auto goes "
        "on without where that fails, and says so.",
    )
    tensorrt_cache_dir: str = Field(
        "",
        description="Folder where TensorRT keeps the engines it builds; empty: each start builds "
        "them anew, which takes minutes.",
    )
    engine: EngineName = Field(
        "auto",
        description="Library that runs models; auto: ONNX Runtime on CUDA, on a CPU OpenVINO if it "
        "is installed, else ONNX Runtime.",
    )
    precision: PrecisionName = Field(
        "auto",
        description="Number format models run in; auto: int8 on a CPU that is fast in it, fp16 on "
        "CUDA, where the bundle has it, else fp32.",
    )
    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Images decoded and, on a CPU, run at a time, one core each; 0: all cores.",
    )
    isolation: Literal["processes", "threads"] = Field(
        "processes",
        description="What the workers are: processes, of which a costly or hostile file ends one "
        "at most, and its image alone fails; or threads of one process, which take less memory.",
    )
    max_batch: int = Field(
        32, ge=1, le=1024, description="Most images of one run on CUDA; a CPU runs one at a time."
    )
    batch_window_ms: float = Field(
        2.0, ge=0, le=1000, description="Longest wait of the oldest image for company, when busy."
    )
    queue_capacity: int = Field(
        256, ge=1, le=100_000, description="Images that may wait for one model; more get 429."
    )
    scope: Literal["warn", "refuse"] = Field(
        "warn",
        description="Pictures the model was not made for: warn answers them with decision refer, "
        "refuse with 422.",
    )
    unfamiliar: Unfamiliar = Field(
        "refer",
        description="Chest radiographs of patients unlike those the model was validated on, by "
        "look or DICOM age: refer decides none of them, warn decides with a warning, refuse "
        "answers 422.",
    )
    explain: Annotated[Literal["auto", "torch", "graph", "off"], BeforeValidator(_current)] = Field(
        "auto",
        description="What makes the heatmaps of /v1/explain: torch, PyTorch; graph, the bundle's "
        "explain.onnx, without PyTorch; auto (formerly on), PyTorch where it is installed, else "
        "the graph, and nothing for a bundle without; off, nothing.",
    )
    explain_precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="Of the explained network; auto: bf16 in PyTorch on a CPU that is fast in it.",
    )
    explain_threads: int = Field(
        1, ge=1, le=256, description="Cores explanations may use; predictions keep the others."
    )
    explain_max_batch: int = Field(
        4, ge=1, le=256, description="Most images of one run that explains."
    )
    explain_queue_capacity: int = Field(
        32, ge=1, le=10_000, description="Explanations that may wait for one model; more get 429."
    )
    dicom_results: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether answers can be had as DICOM objects; auto: those for which the "
        "libraries are installed (extra pacs); on refuses to start without.",
    )
    max_wait_ms: float = Field(
        120,
        ge=1,
        le=600_000,
        description="Longest wait, as predicted, before work on a request begins; more get 429.",
    )
    deadline_ms: float = Field(
        10_000, ge=10, le=600_000, description="Time a request has from its head to its run."
    )
    stall_s: float = Field(
        20,
        ge=0.1,
        le=3600,
        description="Time at one job of every core, or of a device, after which the service is not "
        "ready, and requests of that run are answered 504; it is ready again when one comes back.",
    )
    stall_restart_s: float = Field(
        60,
        ge=0.1,
        le=36_000,
        description="The same for `/health/live`, which then fails so that the process is "
        "restarted; of an explanation's run, too.",
    )
    max_body_bytes: int = Field(
        64 * MIB, ge=1024, le=2048 * MIB, description="Largest body of a request."
    )
    max_buffered_bytes: int = Field(
        512 * MIB, ge=1024, description="Bodies held in memory at a time; more get 429."
    )
    max_images_per_request: int = Field(64, ge=1, le=4096, description="Images of one request.")
    max_image_pixels: int = Field(
        DEFAULT_MAX_PIXELS,
        ge=4096,
        le=2_000_000_000,
        description="Width x height x frames of an image.",
    )
    keep_alive_s: int = Field(
        15, ge=1, le=3600, description="Idle time after which a connection is closed."
    )
    drain_delay_s: float = Field(
        0.0, ge=0, le=300, description="Time to go on answering not-ready before closing."
    )
    drain_s: float = Field(
        30.0, ge=0, le=600, description="Longest time to finish accepted requests when stopping."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log lines that are written."
    )
    tracing: Literal["off", "otlp"] = Field(
        "off",
        description="Whether traces are sent, by OTLP over HTTP (extra `tracing`); `OTEL_*` "
        "variables say where and how many.",
    )

    model_control: Literal["off", "on"] = Field(
        "off",
        description="Whether versions can be loaded, unloaded and rolled back over HTTP; see "
        "model-versions.md.",
    )
    watch_bundles_s: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="Time between looks for new versions in the folder of bundles; 0: none.",
    )
    standby_versions: int = Field(
        1,
        ge=0,
        le=16,
        description="Former versions of a model that stay loaded, for a rollback without loading.",
    )
    standby_free_bytes: int = Field(
        512 * MIB,
        ge=0,
        description="Memory that must be free (of the container's limit, else the machine's), or "
        "former versions are unloaded.",
    )
    shadow: Annotated[tuple[ModelVersion, ...], *parsed_from(_parse_shadows)] = Field(
        (),
        description="Versions that answer in the background, to be compared with the one in "
        "force: `name@version`, with commas.",
    )
    shadow_queue_capacity: int = Field(
        16, ge=1, le=1024, description="Images that may wait for a shadow; more are dropped."
    )

    @model_validator(mode="after")
    def _limits_agree(self) -> Settings:
        if self.max_buffered_bytes < self.max_body_bytes:
            raise ValueError("max_buffered_bytes is below max_body_bytes")
        if self.max_images_per_request > self.queue_capacity:
            raise ValueError("max_images_per_request is above queue_capacity")
        if self.stall_restart_s < self.stall_s:
            raise ValueError("stall_restart_s is below stall_s")
        return self

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models to load; empty for all."""
        return tuple(one.name for one in self.models)

    @property
    def model_pins(self) -> dict[str, str]:
        """Pinned versions by model."""
        return {one.name: one.version for one in self.models if one.version}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings of the service; overrides that are not None win."""
    return read_settings(Settings, overrides, foreign=(GATEWAY_PREFIX,))
