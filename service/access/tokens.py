"""An identity provider's JWT access tokens (RFC 7519, RFC 9068). Extra ``oidc``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.access.caller import Caller
from service.access.jwks import KeySet
from service.access.scopes import SCOPES

LONGEST = 16_384
LONGEST_SUBJECT = 128

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Asymmetric only: with HS*, the provider's public key could be used as the secret."""


def is_jwt(secret: str) -> bool:
    """Whether a credential may be a JWT; our keys never are."""
    return secret.count(".") == 2


class TokenValidator:
    """Identifies callers by token; the provider's ``scope_prefix`` precedes our scopes."""

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str,
        audience: str,
        algorithms: Sequence[str],
        leeway_s: float,
        scope_prefix: str = "",
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = [one for one in algorithms if one in ALGORITHMS]
        self._leeway_s = leeway_s
        self._scope_prefix = scope_prefix

    async def find(self, token: str) -> Caller | None:
        """Return a valid token's caller.

        Raises:
            AccessUnavailableError: The provider's keys are unavailable.
        """
        import jwt  # an optional extra

        if len(token) > LONGEST:
            return None
        try:
            head = jwt.get_unverified_header(token)
            algorithm, key_id = head.get("alg"), head.get("kid")
            if algorithm not in self._algorithms or not isinstance(key_id, str | None):
                return None
            key = await self._keys.find(key_id)
            if key is None or key.get("alg", algorithm) != algorithm:
                return None
            claims = jwt.decode(
                token,
                jwt.PyJWK(key, algorithm=algorithm).key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return Caller(str(claims["sub"])[:LONGEST_SUBJECT], "oidc", self._scopes_of(claims))

    def _scopes_of(self, claims: dict[str, Any]) -> frozenset[str]:
        # scope (RFC 8693, 4.2) is text divided by blanks; scp is such a text, or a list.
        found: set[str] = set()
        for claim in (claims.get("scope"), claims.get("scp")):
            if isinstance(claim, str):
                found |= set(claim.split())
            elif isinstance(claim, list):
                found |= {one for one in claim if isinstance(one, str)}
        prefix = self._scope_prefix
        return SCOPES & {one.removeprefix(prefix) for one in found if one.startswith(prefix)}
