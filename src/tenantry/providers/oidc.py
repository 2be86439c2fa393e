"""A JWT from an issuer with published keys: the checks that every such provider shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.claims import ClaimRules, check_claims, numeric_date
from ..core.jws import UnverifiedToken
from ..core.keys import verify_signature
from ..core.matching import Presented
from ..errors import TokenInvalid
from ..model import Claims, TokenKind, VerifiedClaims
from ..ports import Clock
from .remote_keys import RemoteKeys


class JwtVerifier:
    """Verifies the JWTs of one issuer: everything cheap first, one key, one signature."""

    def __init__(self, provider: str, rules: ClaimRules, keys: RemoteKeys, clock: Clock) -> None:
        self._provider = provider
        self._rules = rules
        self._clock = clock
        self.keys = keys

    async def verify(self, presented: Presented, kind: TokenKind) -> VerifiedClaims:
        """Raise a ``Refusal`` unless the token is authentic and for us."""
        token, claims = presented.token, presented.claims
        if token is None or claims is None:
            raise TokenInvalid("token_malformed")
        self._refuse_early(token, claims)
        key = await self.keys.key_for(token)
        verify_signature(token, key, self._rules.algorithms)
        return VerifiedClaims(
            provider=self._provider,
            kind=kind,
            subject=claims["sub"],
            claims=Claims(token.payload, claims),
            expires_at=numeric_date(claims, "exp"),
        )

    def _refuse_early(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> None:
        """Whatever would be refused after the signature is refused before it costs a key or a verification."""
        if token.algorithm not in self._rules.algorithms:
            raise TokenInvalid("algorithm_refused")
        if token.type not in self._rules.types:
            raise TokenInvalid("token_type_refused")
        check_claims(claims, self._rules, self._clock.now())
