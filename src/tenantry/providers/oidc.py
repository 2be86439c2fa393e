"""A JWT from an issuer with published keys: the checks that every such provider shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..core.claims import CLAIM_CHECKS, ClaimRules, numeric_date
from ..core.jws import UnverifiedToken
from ..core.keys import VerificationKey, verify_signature
from ..core.matching import Presented
from ..errors import TokenInvalid
from ..model import Claims, TokenKind, VerifiedClaims
from ..ports import Clock
from .remote_keys import RemoteKeys

# Raises ``TokenInvalid`` for a token that would be refused whatever its signature is.
Check = Callable[[UnverifiedToken, Mapping[str, Any], float], None]
# Raises ``TokenInvalid`` when the key that a token names may not sign it.
KeyCheck = Callable[[UnverifiedToken, VerificationKey], None]


class JwtVerifier:
    """Verifies the JWTs of one issuer: everything cheap first, one key, one signature.

    ``own`` are the provider's checks, asked before the common ones. ``checks`` are all of them in their order, by the
    name under which ``tenantry token explain`` reports them. ``check_key`` is asked of the key before the signature.
    """

    def __init__(
        self,
        provider: str,
        rules: ClaimRules,
        keys: RemoteKeys,
        clock: Clock,
        own: tuple[tuple[str, Check], ...] = (),
        check_key: KeyCheck | None = None,
    ) -> None:
        self._provider = provider
        self.rules = rules
        self._clock = clock
        self.keys = keys
        self._check_key = check_key
        self.checks: tuple[tuple[str, Check], ...] = (
            *own,
            ("algorithm", self._check_algorithm),
            ("type", self._check_type),
            *(
                (name, partial(_on_claims, check, rules))
                for name, check in CLAIM_CHECKS
                if name != "audience" or rules.audiences is not None
            ),
        )

    async def verify(self, presented: Presented, kind: TokenKind) -> VerifiedClaims:
        """Raise a ``Refusal`` unless the token is authentic and for us."""
        token, claims = presented.token, presented.claims
        if token is None or claims is None:
            raise TokenInvalid("token_malformed")
        now = self._clock.now()
        for _, check in self.checks:  # whatever would be refused after the signature is refused before it costs one
            check(token, claims, now)
        await self.prove(token)
        return VerifiedClaims(
            provider=self._provider,
            kind=kind,
            subject=claims["sub"],
            claims=Claims(token.payload, claims),
            expires_at=numeric_date(claims, "exp"),
        )

    async def prove(self, token: UnverifiedToken) -> None:
        """Raise a ``Refusal`` unless a key of the issuer made the signature."""
        key = await self.keys.key_for(token)
        if self._check_key is not None:
            self._check_key(token, key)
        verify_signature(token, key, self.rules.algorithms)

    def _check_algorithm(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if token.algorithm not in self.rules.algorithms:
            raise TokenInvalid("algorithm_refused")

    def _check_type(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if token.type not in self.rules.types:
            raise TokenInvalid("token_type_refused")


def _on_claims(
    check: Callable[[Mapping[str, Any], ClaimRules, float], None],
    rules: ClaimRules,
    token: UnverifiedToken,
    claims: Mapping[str, Any],
    now: float,
) -> None:
    check(claims, rules, now)
