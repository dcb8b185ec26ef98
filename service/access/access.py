"""The decision: who asks, and may they."""

from __future__ import annotations

from dataclasses import replace

from service.access.caller import Caller, Credential, Rate
from service.access.key_ring import KeyRing
from service.access.rates import Rates
from service.access.tokens import Tokens, is_jwt
from service.errors import ForbiddenError, UnauthorizedError

NO_CREDENTIAL = "This needs a key. Send it as Authorization: Bearer KEY, or as X-API-Key: KEY."
NOT_VALID = "The key or token is not valid here, or no longer. Ask the operator for another."


class Access:
    """Who may ask for what. Belongs to the event loop.

    Args:
        keys: API keys; None if they do not count.
        tokens: Of an identity provider; None if they do not count.
        anonymous: What callers may do who show nothing; None if each must show something.
        rate: Of callers without a rate of their own; None for any number of calls.
        rates: The buckets.
    """

    def __init__(
        self,
        *,
        keys: KeyRing | None = None,
        tokens: Tokens | None = None,
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
        """Whether callers need to show nothing."""
        return self._anonymous is not None

    def refresh(self) -> None:
        """Take up keys that have changed."""
        if self._keys is not None:
            self._keys.refresh()

    async def identify(self, credential: Credential | None) -> Caller:
        """Tell who asks.

        Raises:
            UnauthorizedError: Nothing was shown, or nothing that is valid.
            AccessUnavailableError: It cannot be told now.
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
        """Raise unless the caller has one of the scopes.

        Raises:
            ForbiddenError: It has none of them.
        """
        if not caller.scopes & needed:
            one = " or ".join(sorted(needed))
            raise ForbiddenError(f"This needs the scope {one}, which the caller has not.", needed)

    def take_turn(self, caller: Caller) -> None:
        """Count a call.

        Raises:
            RateLimitedError: The caller asks too often.
        """
        if caller.rate is not None:
            self._rates.take(f"{caller.by}:{caller.name}", caller.rate)
