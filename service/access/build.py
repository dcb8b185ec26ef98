"""Build the access policy."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
from pathlib import Path
from urllib.parse import urlsplit

from service.access.access import Access
from service.access.caller import Rate
from service.access.jwks import KeySet, build_fetch
from service.access.keys import MAKE_ONE, KeyRing
from service.access.scopes import LOOPBACK_ONLY, SCOPES
from service.access.tokens import ALGORITHMS, TokenValidator
from service.errors import StartupError
from service.settings import AccessSettings, prefix_of
from service.telemetry.logs import log_event


def build_access(settings: AccessSettings) -> Access:
    """Build the access policy; raise StartupError if missing or unusable."""
    prefix = prefix_of(type(settings))
    mode = _mode_of(settings, prefix)
    if mode == {"anonymous"}:
        return Access(anonymous=_anonymous_scopes(settings, prefix))
    rate = Rate(settings.rate_per_s, settings.rate_burst) if settings.rate_per_s else None
    keys = tokens = None
    if "keys" in mode:
        if not settings.api_keys_file:
            raise StartupError(f"{prefix}ACCESS requires keys: set {prefix}API_KEYS_FILE.")
        keys = KeyRing(Path(settings.api_keys_file), f"{prefix}API_KEYS_FILE")
    if "oidc" in mode:
        tokens = _build_tokens(settings, prefix)
    return Access(keys=keys, tokens=tokens, rate=rate)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _mode_of(settings: AccessSettings, prefix: str) -> set[str]:
    if settings.access != "auto":
        mode = set(settings.access.split("+"))
    else:
        mode = {"keys"} if settings.api_keys_file else set()
        mode |= {"oidc"} if settings.oidc_issuer else set()
    if not mode:
        raise StartupError(
            f"No access policy is configured. Set {prefix}API_KEYS_FILE to a file of keys "
            f"({MAKE_ONE}), or {prefix}OIDC_ISSUER and {prefix}OIDC_AUDIENCE to an identity "
            f"provider; {prefix}ACCESS=anonymous lets everyone in."
        )
    for way, variable, is_set in (
        ("keys", "API_KEYS_FILE", settings.api_keys_file),
        ("oidc", "OIDC_ISSUER", settings.oidc_issuer),
    ):
        if is_set and way not in mode:
            raise StartupError(
                f"{prefix}ACCESS={settings.access} does not use {prefix}{variable}: "
                "remove one of them."
            )
    return mode


def _anonymous_scopes(settings: AccessSettings, prefix: str) -> frozenset[str]:
    if is_loopback(settings.host):
        return SCOPES
    log_event(
        logging.WARNING,
        "anonymous access beyond this machine",
        host=settings.host,
        hint=f"whoever reaches this address has access; set {prefix}ACCESS=keys",
    )
    return SCOPES - LOOPBACK_ONLY


def _build_tokens(settings: AccessSettings, prefix: str) -> TokenValidator:
    if not settings.oidc_issuer or not settings.oidc_audience:
        raise StartupError(
            f"{prefix}ACCESS requires oidc: set {prefix}OIDC_ISSUER and {prefix}OIDC_AUDIENCE."
        )
    if importlib.util.find_spec("jwt") is None:
        raise StartupError(
            f"{prefix}OIDC_ISSUER needs PyJWT and cryptography: pip install 'cxr-inference[oidc]'."
        )
    for name in ("oidc_issuer", "oidc_jwks_url"):
        if (url := getattr(settings, name)) and not _is_trusted(url):
            raise StartupError(f"{prefix}{name.upper()}: an https:// URL is required.")
    algorithms = settings.oidc_algorithms
    if not algorithms or not set(algorithms) <= ALGORITHMS:
        raise StartupError(f"{prefix}OIDC_ALGORITHMS: allowed are {', '.join(sorted(ALGORITHMS))}.")
    return TokenValidator(
        KeySet(build_fetch(settings.oidc_issuer, settings.oidc_jwks_url)),
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        algorithms=algorithms,
        leeway_s=settings.oidc_leeway_s,
        scope_prefix=settings.oidc_scope_prefix,
    )


def _is_trusted(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
