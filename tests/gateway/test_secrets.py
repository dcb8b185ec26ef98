"""Passwords in settings: shown by no representation, no error and no traceback."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from service.errors import StartupError
from service.gateway.gateway import Gateway
from service.gateway.settings import GatewaySettings, load_gateway_settings
from service.settings import AccessSettings, Settings, load_settings, prefix_of

CANARY = "canary4711"
URL = f"https://user:{CANARY}@host.example/x"

SHARED = {"oidc_issuer": URL, "oidc_jwks_url": URL}
SECRETS: dict[type[AccessSettings], dict[str, str]] = {
    Settings: SHARED,
    GatewaySettings: SHARED
    | {
        "database_url": f"postgresql://user:{CANARY}@host/name",
        "destinations": f"pacs={URL}",
        "service_key": CANARY,
        "service_url": URL,
        "wado_url": URL,
    },
}
EACH = [(kind, name, value) for kind, named in SECRETS.items() for name, value in named.items()]
IDS = [f"{kind.__name__}.{name}" for kind, name, _ in EACH]

MAY_HOLD_ONE = re.compile(r"url|key|token|secret|password|destinations|issuer|auth")
FILES = re.compile(r"files?$|tls_key$")


@pytest.mark.parametrize("kind", SECRETS)
def test_table_is_whole(kind: type[AccessSettings]) -> None:
    """A new setting that may hold a secret belongs in it."""
    named = {name for name in kind.model_fields if MAY_HOLD_ONE.search(name)}
    assert {name for name in named if not FILES.search(name)} == set(SECRETS[kind])


@pytest.mark.parametrize(("kind", "name", "value"), EACH, ids=IDS)
def test_representation_leaves_secrets_out(
    kind: type[AccessSettings], name: str, value: str
) -> None:
    """However settings are printed; they still hold it."""
    settings = kind(**{name: value})  # type: ignore[arg-type]
    held = getattr(settings, name)
    if isinstance(held, SecretStr):
        held = held.get_secret_value()
    assert CANARY in (held if isinstance(held, str) else held[0].url)
    assert CANARY not in f"{settings!r} {settings} {settings!s:>10}"


@pytest.mark.parametrize(("kind", "name", "value"), EACH, ids=IDS)
def test_error_of_another_setting_leaves_secrets_out(
    kind: type[AccessSettings], name: str, value: str
) -> None:
    """Pydantic's errors quote their input, which is all settings where two contradict."""
    with pytest.raises(ValidationError) as caught:
        kind(**{name: value, "tls_key": "key.pem", "tls_certificate": ""})  # type: ignore[arg-type]
    told = "".join(traceback.format_exception(caught.value))
    assert CANARY not in f"{caught.value!r} {told}"


MALFORMED = {
    "database_url": [f"mysql://user:{CANARY}@host"],
    "destinations": [
        f"pacs={CANARY}",
        f"{CANARY}@host",
        f"pacs=https://user:{CANARY}@host:port",
        f"pacs=https://user:{CANARY}/x@host",
        f"a=https://user:{CANARY}@host a=https://host",
    ],
    "service_url": [CANARY, f"https://user:{CANARY}/x@host", f"ftp://user:{CANARY}@host"],
    "wado_url": [CANARY, f"https://user:{CANARY}/x@host", f"https://user:{CANARY}@host:port"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values]
)
def test_error_of_a_malformed_secret_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Neither whole nor in part: an unescaped slash makes the password a port."""
    variable = f"{prefix_of(GatewaySettings)}{name.upper()}"
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartupError, match=f"^{variable}: ") as caught:
        load_gateway_settings()
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", [f"postgresql://host:{CANARY}", f"postgresql://user@host:{CANARY}/name"]
)
def test_malformed_database_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    """SQLAlchemy reads what is before the next slash as a port."""
    chosen: dict[str, Any] = {"destinations": "a=https://host", "spool_dir": str(tmp_path)}
    with pytest.raises(StartupError, match=r"^CXR_GATEWAY_DATABASE_URL: ") as caught:
        Gateway(GatewaySettings(**chosen, database_url=url))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_gateway_shows_none_of_its_secrets(tmp_path: Path) -> None:
    """Nor do the things it is made of."""
    chosen: dict[str, Any] = SECRETS[GatewaySettings] | {"spool_dir": str(tmp_path)}
    gateway = Gateway(GatewaySettings(**chosen))
    shown = f"{gateway!r} {vars(gateway)} {gateway.settings.destinations} {gateway.database!r}"
    assert CANARY not in shown
    gateway.database.close()


def test_unknown_variable_is_told_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in the name of a secret must not show it."""
    monkeypatch.setenv("CXR_GATEWAY_SERVICE_KEI", CANARY)
    monkeypatch.setenv("CXR_OIDC_ISUER", CANARY)
    for load in (load_settings, load_gateway_settings):
        with pytest.raises(StartupError) as caught:
            load()
        assert CANARY not in str(caught.value)
