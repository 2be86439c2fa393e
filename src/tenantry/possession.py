"""Whoever shows a token that is bound to a key proves with every request to hold the key (RFC 9449 section 7).

The verdict on a token is remembered; a proof never is. So this is asked on every request, after the verdict and before
anything is done in the caller's name. A token without a key needs no proof, and none makes it a bound one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from .core.nonces import RENEWED_AFTER, Nonces
from .errors import NonceNeeded, ProofInvalid, Refusal, TokenInvalid
from .model import Credential, MCPUserContext
from .ports import Clock
from .replays import Replays
from .request import Request

if TYPE_CHECKING:
    from .core.proofs import ExternalUrls, Proof

Mode = Literal["accept", "require"]
WINDOW = 60.0  # seconds


class Possession:
    """``modes`` are the providers for which DPoP is on: ``accept`` takes bound tokens and plain ones, ``require`` bound
    ones only. ``window`` is how many seconds before and after now a proof may have been made; ``nonces`` None where a
    proof needs none."""

    def __init__(
        self,
        clock: Clock,
        urls: ExternalUrls,
        modes: Mapping[str, Mode],
        *,
        replays: Replays,
        window: float = WINDOW,
        nonces: Nonces | None = None,
    ) -> None:
        self._now, self._urls, self._window = clock.now, urls, window
        self._replays, self._nonces = replays, nonces
        self.providers = frozenset(modes)
        self.algorithms: tuple[str, ...] = ()
        if modes:  # a server without DPoP does not import its cryptography
            from .core.proofs import PROOF_ALGORITHMS

            self.algorithms = PROOF_ALGORITHMS
        self._only_bound = frozenset(name for name, mode in modes.items() if mode == "require")

    def requires(self, provider: str) -> bool:
        """Whether plain tokens of ``provider`` are refused."""
        return provider in self._only_bound

    def proved(self, request: Request, credential: Credential, user: MCPUserContext) -> MCPUserContext:
        """``user``, when ``credential`` needs no proof or came with one. Raises a ``Refusal`` otherwise."""
        thumbprint = user.bound_to
        if credential.source != "dpop" and thumbprint is None and user.provider not in self._only_bound:
            return user
        try:
            self._check(request, credential, user, thumbprint)
        except Refusal as refusal:
            refusal.provider = user.provider
            raise
        return user

    def _check(self, request: Request, credential: Credential, user: MCPUserContext, thumbprint: str | None) -> None:
        if thumbprint is None:
            raise TokenInvalid("token_unbound")
        if credential.source != "dpop":
            raise TokenInvalid("sender_constrained")
        header = request.headers.get(b"dpop")
        if header is None:
            raise ProofInvalid("proof_missing")
        from .core.proofs import Asked, check_proof

        asked = Asked(request.method, self._urls.of_path(request.path), credential.secret, thumbprint)
        now = self._now()
        proof = check_proof(header, asked, now, self._window)
        self._check_nonce(request, proof, now)
        self._replays.use(user.user_id, thumbprint, proof.id, now, proof.issued_at + self._window)

    def _check_nonce(self, request: Request, proof: Proof, now: float) -> None:
        if self._nonces is None:
            return
        age = self._nonces.age(proof.nonce, now)
        if age is None or age > RENEWED_AFTER:
            request.nonce = self._nonces.new(now)
        if age is None:
            refusal = NonceNeeded("proof_nonce_needed")
            refusal.counted = True  # he holds the key, so he is no stranger
            raise refusal
