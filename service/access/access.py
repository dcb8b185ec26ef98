"""Authentication and authorisation."""

from __future__ import annotations

from dataclasses import replace

from service.access.caller import Caller, Credential, Rate, Rates
from service.access.keys import KeyRing
from service.access.tokens import TokenValidator, is_jwt
from service.errors import ForbiddenError, UnauthorizedError

NO_CREDENTIAL = "A key is required. Send Authorization: Bearer KEY, or X-API-Key: KEY."
NOT_VALID = "The key or token is not valid, or has expired. Ask the operator for another."


class Access:
    """Identifies callers and decides what they may do. Event loop only.

    Args:
        keys: None if API keys are not accepted.
        tokens: None if tokens are not accepted.
        anonymous: Scopes without credentials; None if these are required.
        rate: Default rate; None for no limit.
        rates: Token buckets.
    """

    def __init__(
        self,
        *,
        keys: KeyRing | None = None,
        tokens: TokenValidator | None = None,
        anonymous: frozenset[str] | None = None,
        rate: Rate | None = None,
        rates: Rates | None = None,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._anonymous = None
        if anonymous is not None:
            self._anonymous = Caller("anonymous", "anonymous", anonymous)
        self._rate = rate
        self._rates = rates or Rates()

    @property
    def is_anonymous(self) -> bool:
        """Whether callers need no credentials."""
        return self._anonymous is not None

    def refresh(self) -> None:
        """Reload changed keys."""
        if self._keys is not None:
            self._keys.refresh()

    async def identify(self, credential: Credential | None) -> Caller:
        """Identify the caller.

        Raises:
            UnauthorizedError: No valid credential.
            AccessUnavailableError: The provider's keys are unavailable.
        """
        if self._anonymous is not None:
            return self._anonymous
        if credential is None:
            raise UnauthorizedError(NO_CREDENTIAL, is_given=False)
        caller = None
        if self._tokens is not None and credential.is_bearer and is_jwt(credential.secret):
            caller = await self._tokens.find(credential.secret)
        elif self._keys is not None:
            caller = self._keys.find(credential.secret)
        if caller is None:
            raise UnauthorizedError(NOT_VALID, is_given=True)
        return caller if caller.rate is not None else replace(caller, rate=self._rate)

    def verify_allowed(self, caller: Caller, needed: frozenset[str]) -> None:
        """Raise ForbiddenError unless the caller has a listed scope."""
        if not caller.scopes & needed:
            one = " or ".join(sorted(needed))
            raise ForbiddenError(
                f"This requires the scope {one}, which the caller does not have.", needed
            )

    def take_turn(self, caller: Caller) -> None:
        """Count a call; raise RateLimitedError beyond the caller's rate."""
        if caller.rate is not None:
            self._rates.take(f"{caller.by}:{caller.name}", caller.rate)
