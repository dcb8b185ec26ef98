"""Settings that service and gateway share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.settings.texts import parsed_from


class AccessSettings(BaseSettings):
    """What service and gateway share. Secrets are left out of representations and errors."""

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
    oidc_algorithms: Annotated[tuple[str, ...], *parsed_from(str.split)] = Field(
        ("RS256", "ES256"), description="Signatures that count, with blanks; none and HS* never do."
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
        """Scheme of our own URLs."""
        return "https" if self.tls_certificate else "http"
