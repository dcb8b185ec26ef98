"""What an operator may set. The only module that reads the environment.

What belongs to a model lives in its manifest and cannot be set here.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cxr.images.decoding import DEFAULT_MAX_PIXELS
from service.errors import StartupError

PREFIX = "CXR_"
FOREIGN_VARIABLES = frozenset({"CXR_SHARED_DATA"})
"""Variables of our prefix that belong to the tests' data, not to the service."""

GATEWAY_PREFIX = "CXR_GATEWAY_"
"""Read by the gateway, which may share its environment with a service."""

MIB = 1024 * 1024

Provider = Literal["auto", "cuda", "cpu", "tensorrt"]
EngineName = Literal["auto", "onnxruntime", "openvino"]
PrecisionName = Literal["auto", "fp32", "int8", "bf16", "fp16"]


class AccessSettings(BaseSettings):
    """Who may ask, and over what: the settings that service and gateway share.

    What may hold a password, and is no file of one, is left out of representations and errors.
    """

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    access: Literal["auto", "anonymous", "keys", "oidc", "keys+oidc"] = Field(
        "auto",
        description="Who may ask: auto takes keys, OIDC or both as set below, and does not start "
        "where nothing is; anonymous lets everyone in and has to be asked for.",
    )
    api_keys_file: str = Field(
        "",
        description="File of API keys, JSON or TOML, read anew when it changes; "
        "python -m service keys makes one.",
    )
    oidc_issuer: str = Field(
        "", repr=False, description="Identity provider whose tokens count, as in their claim iss."
    )
    oidc_audience: str = Field("", description="What must stand in the claim aud of its tokens.")
    oidc_jwks_url: str = Field(
        "", repr=False, description="Where its keys are; empty: its discovery document says."
    )
    oidc_algorithms: str = Field(
        "RS256 ES256", description="Signatures that count, with blanks; none and HS* never do."
    )
    oidc_scope_prefix: str = Field(
        "", description="What stands before predict, explain ... in its claims scope and scp."
    )
    oidc_leeway_s: float = Field(
        30, ge=0, le=600, description="How far its clock and ours may be apart."
    )
    rate_per_s: float = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Calls a second of a key without a rate of its own, or of a token's subject; "
        "more get 429; 0 for any number.",
    )
    rate_burst: int = Field(
        20, ge=1, le=1_000_000, description="Calls such a caller may make at once after a pause."
    )
    body_grace_s: float = Field(
        5,
        ge=0.1,
        le=600,
        description="Time by which a body may fall behind `BODY_BYTES_PER_S`, and longest pause in "
        "it; then 408.",
    )
    body_bytes_per_s: float = Field(
        8192, ge=1, le=1_000_000_000, description="What a body has to bring a second, on average."
    )
    tls_certificate: str = Field(
        "", description="PEM file of the certificate chain; empty for plain HTTP."
    )
    tls_key: str = Field("", description="PEM file of its key.")

    @model_validator(mode="after")
    def _access_agrees(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together")
        return self

    @property
    def url_scheme(self) -> str:
        """What addresses of ours begin with."""
        return "https" if self.tls_certificate else "http"


class Settings(AccessSettings):
    """The service's settings, immutable. Each is read from ``CXR_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    bundles_dir: str = Field("bundles", description="Folder of bundles, or one bundle.")
    models: str = Field(
        "",
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
    explain: Literal["on", "off"] = Field(
        "on", description="Whether /v1/explain is served; off loads no PyTorch."
    )
    explain_precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Of the explained network; auto: bf16 on a CPU that is fast in it."
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
        150,
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
    shadow: str = Field(
        "",
        pattern=r"^$|^[^@,]+@\d+\.\d+\.\d+\s*(,[^@,]+@\d+\.\d+\.\d+\s*)*$",
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
        """Names in ``models``; empty for all."""
        return tuple(one.partition("@")[0] for one in _listed(self.models))

    @property
    def model_pins(self) -> dict[str, str]:
        """Versions in ``models``, by name."""
        return {name: version for name, version in map(_split, _listed(self.models)) if version}

    @property
    def shadows(self) -> tuple[tuple[str, str], ...]:
        """Names and versions in ``shadow``."""
        return tuple(map(_split, _listed(self.shadow)))


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _split(text: str) -> tuple[str, str]:
    name, _, version = text.partition("@")
    return name, version


SomeSettings = TypeVar("SomeSettings", bound=BaseSettings)


def load_settings(**overrides: Any) -> Settings:
    """Read the service's settings from the environment.

    Args:
        **overrides: Settings given on the command line; None leaves a setting as it is.

    Raises:
        StartupError: A variable is unknown or a value is not allowed.
    """
    return read_settings(Settings, overrides, foreign=(GATEWAY_PREFIX,))


def read_settings(
    kind: type[SomeSettings], overrides: dict[str, Any], foreign: tuple[str, ...] = ()
) -> SomeSettings:
    """Read settings of one kind from the environment.

    Args:
        kind: Their class; its prefix says which variables are its own.
        overrides: Settings given on the command line; None leaves a setting as it is.
        foreign: Longer prefixes of variables that others read.

    Raises:
        StartupError: A variable is unknown or a value is not allowed.
    """
    prefix = prefix_of(kind)
    known = {prefix + name.upper() for name in kind.model_fields} | FOREIGN_VARIABLES
    ours = (name for name in os.environ if name.startswith(prefix))
    unknown = sorted(n for n in ours if n not in known and not n.startswith(foreign))
    if unknown:
        raise StartupError(f"Unknown settings: {', '.join(unknown)}. See the configuration page.")
    try:
        return kind(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = prefix + "_".join(str(part) for part in first["loc"]).upper()
        where = name if first["loc"] else "The settings"
        raise StartupError(f"{where}: {first['msg']}.") from None


def prefix_of(kind: type[BaseSettings]) -> str:
    """Give the prefix of a kind's variables."""
    return str(kind.model_config.get("env_prefix", ""))


def settings_table(kind: type[BaseSettings] = Settings) -> str:
    """Give the settings as a Markdown table: variable, default, allowed values, meaning."""
    prefix = prefix_of(kind)
    lines = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for name, schema in kind.model_json_schema()["properties"].items():
        default = schema["default"]
        shown = "(empty)" if default == "" else f"`{default}`"
        lines.append(
            f"| `{prefix}{name.upper()}` | {shown} | {_allowed(schema)} | {schema['description']} |"
        )
    return "\n".join(lines) + "\n"


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "string":
        return "text"
    low, high = schema.get("minimum"), schema.get("maximum")
    return f"{low} to {high}" if high is not None else f"from {low}"
