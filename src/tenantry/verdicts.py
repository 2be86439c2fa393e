"""What is remembered of credentials: proofs, and briefly definitive refusals. Outages are never remembered.

* The key is SHA-256 of the configuration's version, the hint and the whole credential; the provider is a function
  of these. The credential itself is not kept.
* A proof dies at min(ttl, exp), and ``exp`` is compared with the clock again on every hit.
* A proof past its ttl stays where it is until its provider has been asked again: see ``despite``.
* Refusals live in a small table of their own, so that junk can never push out a good entry.
* A proof is kept as bytes in plain dictionaries, neither of which the garbage collector walks (``bench/memory.py``);
  what was made of it is kept beside it for the few thousand in use. All of that is frozen, and claims hand out fresh
  values: nothing that one request does to it is seen by the next.
* Two generations instead of an order: a proof in use since the last change of generations survives the next one.
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from cachetools import TTLCache

from .errors import Refusal, TokenInvalid, Unavailable
from .model import Admission, Claims, Credential, VerifiedClaims
from .ports import Clock

REFUSALS = 2048
REFUSAL_TTL = 10.0  # seconds: long enough for a client that retries in a loop, short for a person who mends it
# Refusals that time or a fetch may turn: asked again each time.
_MAY_TURN = frozenset({"token_not_yet_valid", "key_unknown"})
IN_USE = 4096  # admissions kept as objects: about a millisecond of a full collection
_NEVER = float("inf")


class _InUse(NamedTuple):
    dies_at: float
    expires_at: float
    admission: Admission


class VerdictCache:
    """Proofs and refusals by the digest of their credential. ``ttl`` in seconds, ``size`` in proofs; ``longer`` gives
    the seconds beyond it that proofs of a provider are believed at the moment, because it cannot be asked freely;
    ``grace`` the seconds beyond it for which one is believed while its provider is out of reach."""

    def __init__(
        self,
        clock: Clock,
        version: bytes,
        *,
        ttl: float,
        size: int,
        longer: Callable[[str], float] = lambda _: 0.0,
        grace: float = 0.0,
    ) -> None:
        self._now, self._monotonic = clock.now, clock.monotonic
        self._seed = hashlib.sha256(version)
        self._ttl = ttl
        self._longer = longer
        self._grace = grace
        self._generation = max(1, size // 2)
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._in_use: dict[bytes, _InUse] = {}
        self._refusals: TTLCache[bytes, Refusal] = TTLCache(REFUSALS, REFUSAL_TTL, timer=clock.monotonic)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def key(self, credential: Credential, hint: str | None) -> bytes:
        """32 bytes that stand for this credential under this configuration."""
        digest = self._seed.copy()
        if hint is None:
            digest.update(_SOURCES[credential.source])
        else:
            digest.update(f"{credential.source}\0={hint}\0".encode("utf-8", "surrogatepass"))
        digest.update(credential.secret)
        return digest.digest()

    def admission(self, key: bytes) -> Admission | None:
        """What was made of a proof that is in use and alive now."""
        known = self._in_use.get(key)
        if known is None:
            return None
        if self._is_dead(known.dies_at, known.admission.user.provider) or self._now() >= known.expires_at:
            del self._in_use[key]
            return None
        return known.admission

    def proof(self, key: bytes) -> VerifiedClaims | None:
        """A proof that is alive now; raises the remembered refusal, if there is one."""
        packed = self._young.get(key) or self._old.get(key)
        if packed is None:
            if self._refusals and (refusal := self._refusals.get(key)) is not None:
                raise refusal.again()
            return None
        dies_at, verified = _unpack(packed)
        if self._now() >= _end(verified):
            self._forget(key)
            return None
        return None if self._is_dead(dies_at, verified.provider) else verified

    def despite(self, refusal: Refusal, key: bytes | None) -> VerifiedClaims:
        """The proof that is believed although its provider has not vouched for it now: an overdue one, before its
        ``exp``, where the provider could not be reached and the grace is not over, or has just said that it cannot be
        asked freely. Else raises ``refusal``; a definitive one ends the proof for good, and is remembered. ``key`` is
        None where proofs are not kept."""
        if key is None:
            raise refusal
        if not isinstance(refusal, Unavailable):
            self._forget(key)
            self.remember_refusal(key, refusal)
            raise refusal
        packed = self._young.get(key) or self._old.get(key)
        if packed is None:
            raise refusal
        dies_at, verified = _unpack(packed)
        in_grace = refusal.outage and verified.expires_at is not None and self._monotonic() < dies_at + self._grace
        if self._now() >= _end(verified) or (self._is_dead(dies_at, verified.provider) and not in_grace):
            raise refusal
        return replace(verified, overdue=True)

    def _is_dead(self, dies_at: float, provider: str) -> bool:
        now = self._monotonic()
        return now >= dies_at and now >= dies_at + self._longer(provider)

    def remember(self, key: bytes, verified: VerifiedClaims) -> None:
        """Keep a proof, unless only the clock skew let it pass: that is good once."""
        if self._now() < _end(verified):
            self._keep(key, _pack(verified, self._monotonic() + self._ttl))

    def use(self, key: bytes, verified: VerifiedClaims, admission: Admission) -> None:
        """Keep what was made of a remembered proof as well."""
        packed = self._young.get(key) or self._old.get(key)
        if packed is None:
            return
        if key not in self._young:
            self._keep(key, packed)
        if len(self._in_use) >= IN_USE:
            self._in_use.clear()  # who is still in use comes back at his next request, from the proof
        dies_at, _ = _unpack(packed)
        self._in_use[key] = _InUse(dies_at, _end(verified), admission)

    def forget_admissions(self) -> None:
        """What was made of proofs is made anew: tenants may have changed."""
        self._in_use.clear()

    def remember_refusal(self, key: bytes, refusal: Refusal) -> None:
        """Keep a definitive refusal of a token for a moment."""
        if isinstance(refusal, TokenInvalid) and refusal.reason not in _MAY_TURN:
            self._refusals[key] = refusal.again()

    def _keep(self, key: bytes, packed: bytes) -> None:
        if len(self._young) >= self._generation and key not in self._young:
            self._old, self._young = self._young, {}
            self._in_use.clear()  # so that those still in use move on to the young generation
        self._old.pop(key, None)
        self._young[key] = packed

    def _forget(self, key: bytes) -> None:
        for table in (self._in_use, self._young, self._old):
            table.pop(key, None)


_SOURCES = {"bearer": b"bearer\0\0", "dpop": b"dpop\0\0", "x-api-key": b"x-api-key\0\0"}


def _end(verified: VerifiedClaims) -> float:
    return _NEVER if verified.expires_at is None else verified.expires_at


def _pack(verified: VerifiedClaims, dies_at: float) -> bytes:
    claims = verified.claims if type(verified.claims) is Claims else Claims.of(verified.claims)
    fields = (verified.provider, verified.kind, verified.subject, claims.raw, verified.expires_at)
    return marshal.dumps((dies_at, *fields))


def _unpack(packed: bytes) -> tuple[float, VerifiedClaims]:
    # Our own bytes, from this process: marshal never reads anybody else's.
    dies_at, provider, kind, subject, raw, expires_at = marshal.loads(packed)  # noqa: S302
    return dies_at, VerifiedClaims(provider, kind, subject, Claims(raw), expires_at)
