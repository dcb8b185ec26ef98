"""Gateway settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from service.gateway.destinations import (
    AE_TITLE,
    Destination,
    Peer,
    is_http_address,
    parse_destinations,
    parse_peers,
    parse_token_files,
)
from service.settings import GATEWAY_PREFIX, MIB, AccessSettings, parsed_from, read_settings

DATABASE_FILE = "inbox.sqlite3"
POSTGRESQL = ("postgresql://", "postgresql+pg8000://")


class GatewaySettings(AccessSettings):
    """Settings of the gateway, each read from ``CXR_GATEWAY_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=GATEWAY_PREFIX, frozen=True, extra="forbid")

    body_grace_s: float = Field(
        60,
        ge=0.1,
        le=600,
        description="Time by which a STOW-RS body may fall behind `BODY_BYTES_PER_S`, and longest "
        "pause in it; then 408.",
    )
    body_bytes_per_s: float = Field(
        1024, ge=1, le=1_000_000_000, description="What it has to bring a second, on average."
    )
    port: int = Field(
        8080, ge=0, le=65535, description="Port of HTTP (STOW-RS, jobs); 0 picks a free one."
    )
    dimse: Literal["on", "off"] = Field("on", description="Whether C-STORE and C-ECHO are served.")
    dimse_port: int = Field(11112, ge=0, le=65535, description="Port of DIMSE; 0 picks a free one.")
    ae_title: str = Field("CXRGATEWAY", description="AE title of the gateway, called and calling.")
    dimse_peers: Annotated[tuple[Peer, ...], *parsed_from(parse_peers)] = Field(
        (),
        description="Who may send by DIMSE, with blanks: AETITLE, AETITLE@address, or "
        "AETITLE@address:port to report storage commitment to; empty for anyone.",
    )
    dimse_max_associations: int = Field(
        16, ge=1, le=1000, description="Associations at a time; more are rejected."
    )
    dimse_max_waiting: int = Field(
        64,
        ge=1,
        le=4096,
        description="Connections at a time that have not asked for an association yet; for one "
        "more the oldest of the address with the most of them is closed.",
    )
    dimse_request_s: float = Field(
        15,
        ge=0.1,
        le=600,
        description="Time a connection has for its TLS handshake and its association request.",
    )
    dimse_tls_certificate: str = Field(
        "", description="PEM file of the DIMSE server's certificate; empty for no TLS."
    )
    dimse_tls_key: str = Field("", description="PEM file of its key.")
    dimse_tls_ca: str = Field(
        "", description="PEM file of the authorities that must have signed the senders' own."
    )
    spool_dir: str = Field(
        "spool", description="Folder of received and made objects; several gateways share one."
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="postgresql://user:password@host/name for several gateways; empty: SQLite in "
        "the spool folder.",
    )
    min_free_bytes: int = Field(
        2048 * MIB,
        ge=0,
        description="Free bytes of the spool's disk below which objects are refused.",
    )
    max_instance_bytes: int = Field(
        256 * MIB, ge=1024, le=2048 * MIB, description="Largest object accepted."
    )
    max_body_bytes: int = Field(
        2048 * MIB, ge=1024, description="Largest body of a STOW-RS request or WADO-RS answer."
    )
    service_url: str = Field(
        "http://127.0.0.1:8000", repr=False, description="Where the service is."
    )
    service_key: SecretStr = Field(
        SecretStr(""), description="API key the gateway shows the service; better in a file."
    )
    service_key_file: str = Field(
        "", description="File of that key or of a token, read anew when it changes."
    )
    model: str = Field("", description="Name of the model; empty: the service's default.")
    operating_point: str = Field("", description="Name of the operating point; empty: the model's.")
    analysis_workers: int = Field(4, ge=1, le=256, description="Objects analysed at a time.")
    analysis_timeout_s: float = Field(
        60,
        ge=0.1,
        le=3600,
        description="Longest time of a request to the service, to the end of its answer.",
    )
    analysis_max_h: float = Field(
        24, ge=0, le=8760, description="How long an object is tried before it is a dead letter."
    )
    not_analysed: Literal["dead", "report"] = Field(
        "dead",
        description="An object the service refuses for good: dead makes it a dead letter, report "
        "delivers a report with the reason.",
    )
    destinations: Annotated[tuple[Destination, ...], *parsed_from(parse_destinations)] = Field(
        (),
        repr=False,
        description="Where results go, with blanks: name=https://host/dicom-web for STOW-RS, "
        "name=dicom://AETITLE@host:port for C-STORE. At least one.",
    )
    destination_token_files: Annotated[dict[str, Path], *parsed_from(str)] = Field(
        {},
        description="Files of the bearer tokens shown to STOW-RS destinations, with blanks: "
        "name=file, or one file for all.",
    )
    delivery_workers: int = Field(
        2, ge=1, le=256, description="Deliveries at a time, to each destination."
    )
    delivery_timeout_s: float = Field(
        60,
        ge=0.1,
        le=3600,
        description="Longest time of a request to an archive, to the end of its answer.",
    )
    delivery_max_h: float = Field(
        72, ge=0, le=8760, description="How long a delivery is tried before it is a dead letter."
    )
    retry_base_s: float = Field(
        1.0, gt=0, le=600, description="Mean wait before the second try; doubles from try to try."
    )
    retry_longest_s: float = Field(
        300, gt=0, le=86_400, description="Longest wait between tries, also of one asked for."
    )
    lease_s: float = Field(
        300,
        ge=0.2,
        le=86_400,
        description="Time after which work of a gateway that died is taken over by another.",
    )
    keep_done_h: float = Field(
        0, ge=0, le=8760, description="How long bytes are kept once all results are delivered."
    )
    keep_dead_h: float = Field(
        720, ge=0, le=87_600, description="How long bytes of dead letters are kept."
    )
    keep_rows_d: float = Field(
        90,
        ge=0,
        le=36_500,
        description="How long finished jobs are listed and repeats of them recognised.",
    )
    wado_url: str = Field(
        "",
        repr=False,
        description="DICOMweb base that POST /v1/studies/{uid}:analyze pulls from.",
    )
    max_pulls: int = Field(16, ge=1, le=256, description="Studies pulled at a time; more get 429.")
    wado_token_file: str = Field("", description="File of the bearer token shown to it.")
    pull_max_s: float = Field(
        900, ge=1, le=86_400, description="Longest time for a whole study to come from it."
    )
    drain_s: float = Field(
        10, ge=0, le=600, description="Longest time to finish begun work when stopping."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log lines that are written."
    )
    tracing: Literal["off", "otlp"] = Field(
        "off", description="Whether traces are sent, as CXR_TRACING."
    )

    @field_validator("service_url", "wado_url")
    @classmethod
    def _address_is_readable(cls, url: str) -> str:
        if url and not is_http_address(url):
            raise ValueError("it is no http:// or https:// address")
        return url

    @field_validator("destination_token_files", mode="before")
    @classmethod
    def _token_files_are_of_destinations(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        return parse_token_files(value, info.data.get("destinations", ()))

    @field_validator("ae_title")
    @classmethod
    def _title_is_one(cls, title: str) -> str:
        if not AE_TITLE.fullmatch(title):
            raise ValueError("an AE title has 1 to 16 characters without backslash")
        return title

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, url: SecretStr) -> SecretStr:
        if url and not url.get_secret_value().startswith(POSTGRESQL):
            raise ValueError("only postgresql:// is read")
        return url

    @model_validator(mode="after")
    def _values_agree(self) -> GatewaySettings:
        if self.lease_s < 1.5 * max(self.analysis_timeout_s, self.delivery_timeout_s):
            raise ValueError("lease_s is below 1.5 times the longest timeout")
        if self.max_body_bytes < self.max_instance_bytes:
            raise ValueError("max_body_bytes is below max_instance_bytes")
        if bool(self.dimse_tls_certificate) != bool(self.dimse_tls_key):
            raise ValueError("dimse_tls_certificate and dimse_tls_key go together")
        if self.service_key and self.service_key_file:
            raise ValueError("service_key and service_key_file: one of them")
        known = {one.name for one in self.destinations if one.kind == "stow"}
        if not self.destination_token_files.keys() <= known:
            raise ValueError("destination_token_files names what is no STOW-RS destination")
        return self

    @property
    def is_shared(self) -> bool:
        """Whether gateways may share the inbox."""
        return bool(self.database_url)

    @property
    def sqlalchemy_url(self) -> str:
        """SQLAlchemy URL; it may hold a password."""
        if not self.database_url:
            return f"sqlite:///{Path(self.spool_dir).absolute() / DATABASE_FILE}"
        return "postgresql+pg8000://" + self.database_url.get_secret_value().partition("://")[2]


def load_gateway_settings(**overrides: Any) -> GatewaySettings:
    """Read the settings; raise StartupError."""
    return read_settings(GatewaySettings, overrides)
