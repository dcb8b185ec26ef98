"""CXR_ACCESS: nobody is let in whom nobody asked for."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from service.access.build import build_access, is_loopback
from service.access.caller import Credential
from service.errors import CxrError, StartupError, UnauthorizedError
from service.gateway.settings import load_gateway_settings
from service.settings import load_settings
from tests.access.conftest import Keys

pytestmark = pytest.mark.anyio

OIDC = {"oidc_issuer": "https://id.example", "oidc_audience": "cxr"}


@pytest.mark.parametrize("load", [load_settings, load_gateway_settings], ids=["service", "gateway"])
def test_default_does_not_start(load: Any) -> None:
    """One line that names the ways."""
    with pytest.raises(StartupError) as caught:
        build_access(load())
    line = str(caught.value)
    assert "\n" not in line
    prefix = "CXR_GATEWAY_" if load is load_gateway_settings else "CXR_"
    for name in ("API_KEYS_FILE", "OIDC_ISSUER", "ACCESS=anonymous"):
        assert prefix + name in line


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"access": "keys"}, "API_KEYS_FILE"),
        ({"access": "oidc"}, "OIDC_ISSUER"),
        ({"access": "anonymous", "api_keys_file": "keys"}, "does not use CXR_API_KEYS_FILE"),
        ({"access": "anonymous", **OIDC}, "does not use CXR_OIDC_ISSUER"),
        ({"api_keys_file": "/nowhere/keys"}, "cannot be used"),
        ({"oidc_issuer": "https://id.example"}, "OIDC_AUDIENCE"),
        ({**OIDC, "oidc_issuer": "http://id.example"}, "https://"),
        ({**OIDC, "oidc_jwks_url": "http://id.example/keys"}, "OIDC_JWKS_URL"),
        ({**OIDC, "oidc_algorithms": "RS256 HS256"}, "OIDC_ALGORITHMS"),
        ({**OIDC, "oidc_algorithms": "none"}, "OIDC_ALGORITHMS"),
        ({**OIDC, "oidc_algorithms": ""}, "OIDC_ALGORITHMS"),
        ({"tls_certificate": "x"}, "go together"),
    ],
)
def test_half_set_access_does_not_start(chosen: dict[str, str], told: str) -> None:
    """Never with less than was asked for."""
    with pytest.raises(StartupError, match=told):
        build_access(load_settings(**chosen))


def test_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """OIDC is an extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StartupError, match=r"cxr-inference\[oidc\]"):
        build_access(load_settings(**OIDC))


async def test_keys_and_oidc_stand_beside_each_other(keys: Keys) -> None:
    """What has the form of a token is one; a key is looked for among the keys."""
    access = build_access(load_settings(api_keys_file=str(keys.path), **OIDC))
    caller = await access.identify(Credential(keys.keys["jobs"], is_bearer=True))
    assert caller.name == "jobs"
    for given in (None, Credential("x", is_bearer=True), Credential("a.b.c", is_bearer=False)):
        with pytest.raises(UnauthorizedError):
            await access.identify(given)


async def test_rate_of_all_is_for_those_without_their_own(keys: Keys) -> None:
    """CXR_RATE_PER_S."""
    settings = load_settings(api_keys_file=str(keys.path), rate_per_s=3, rate_burst=4)
    access = build_access(settings)
    rates = {}
    for name in ("jobs", "slow"):
        caller = await access.identify(Credential(keys.keys[name], is_bearer=True))
        assert caller.rate is not None
        rates[name] = caller.rate.per_s
    assert rates == {"jobs": 3, "slow": 0.01}


@pytest.mark.parametrize(("host", "warns"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_anonymous_beyond_loopback_is_warned_of(
    host: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It was asked for by name, so it starts."""
    with caplog.at_level(logging.WARNING):
        access = build_access(load_settings(access="anonymous", host=host))
    assert ("anonymous access beyond this machine" in caplog.messages) is warns
    caller = await access.identify(None)
    assert ("admin" in caller.scopes) is not warns


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        *((host, True) for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.evil")),
    ],
)
def test_loopback(host: str, is_here: bool) -> None:
    """Only what no other machine reaches."""
    assert is_loopback(host) is is_here


def test_settings_do_not_print_the_services_key() -> None:
    """Whoever prints the gateway's settings."""
    assert "cxr_secret" not in repr(load_gateway_settings(service_key="cxr_secret"))


def test_errors_do_not_quote_the_keys_file(tmp_path: Any) -> None:
    """Somebody may have named the key itself instead of its file."""
    (tmp_path / "k").write_text("cxr_secret")
    with pytest.raises(CxrError) as caught:
        build_access(load_settings(api_keys_file=str(tmp_path / "k")))
    assert "cxr_secret" not in str(caught.value)
