"""What is remembered of credentials: proofs, and briefly definitive refusals. Outages are never remembered.

* The key is SHA-256 of the configuration's version, the hint and the whole credential; the provider is a function
  of these. The credential itself is not kept.
* A proof dies at min(ttl, exp), and ``exp`` is compared with the clock again on every hit.
* Refusals live in a small table of their own, so that junk can never push out a good entry.
* A proof is kept as one tuple of plain values: the garbage collector does not walk such tuples, and every hit
  builds its own context, so nothing one request does to it is seen by another (``bench/memory.py``).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, TypeVar

from cachetools import TTLCache

from .errors import Forbidden, Refusal, TokenInvalid
from .model import Claims, Credential, MCPUserContext, Tenant
from .ports import Clock

REFUSALS = 2048
REFUSAL_TTL = 10.0  # seconds: long enough for a client that retries in a loop, short for a person who mends it
# Refusals that time or a fetch may turn: asked again each time.
_MAY_TURN = frozenset({"token_not_yet_valid", "key_unknown"})

T = TypeVar("T")
Proof = tuple[Any, ...]


class VerdictCache:
    """Proofs and refusals by the digest of their credential. ``ttl`` in seconds, ``size`` in proofs."""

    def __init__(self, clock: Clock, version: bytes, *, ttl: float, size: int) -> None:
        self._clock = clock
        self._seed = hashlib.sha256(version)
        self._ttl = ttl
        self._size = size
        self._proofs: OrderedDict[bytes, Proof] = OrderedDict()  # the least lately used first
        self._refusals: TTLCache[bytes, Refusal] = TTLCache(REFUSALS, REFUSAL_TTL, timer=clock.monotonic)

    def __len__(self) -> int:
        return len(self._proofs)

    def key(self, credential: Credential, hint: str | None) -> bytes:
        """32 bytes that stand for this credential under this configuration."""
        digest = self._seed.copy()
        if hint is None:
            digest.update(_SOURCES[credential.source])
        else:
            digest.update(f"{credential.source}\0={hint}\0".encode("utf-8", "surrogatepass"))
        digest.update(credential.secret)
        return digest.digest()

    def find(self, key: bytes) -> tuple[MCPUserContext, Tenant] | None:
        """The proof, if it is alive now; raises the remembered refusal, if there is one."""
        proof = self._proofs.get(key)
        if proof is None:
            if self._refusals and (refusal := self._refusals.get(key)) is not None:
                raise refusal.again()
            return None
        if self._clock.monotonic() >= proof[0] or (proof[1] is not None and self._clock.now() >= proof[1]):
            del self._proofs[key]
            return None
        self._proofs.move_to_end(key)
        return _unpack(proof)

    def remember(self, key: bytes, user: MCPUserContext, tenant: Tenant) -> None:
        if user.expires_at is not None and user.expires_at <= self._clock.now():
            return  # within the clock skew: good once, not to be kept
        self._proofs[key] = _pack(user, tenant, self._clock.monotonic() + self._ttl)
        if len(self._proofs) > self._size:
            self._proofs.popitem(last=False)

    def remember_refusal(self, key: bytes, refusal: Refusal) -> None:
        """Keep a definitive refusal for a moment: of the token, or of its holder under this configuration."""
        if isinstance(refusal, TokenInvalid | Forbidden) and refusal.reason not in _MAY_TURN:
            self._refusals[key] = refusal.again()


_SOURCES = {"bearer": b"bearer\0\0", "x-api-key": b"x-api-key\0\0"}
# Members of the claims that the context has as attributes anyway: kept once.
_FOLDED = ("sub", "email", "name", "picture")


def _pack(user: MCPUserContext, tenant: Tenant, dies_at: float) -> Proof:
    """One tuple of atoms. Sets become text, interned because most users share theirs."""
    claims = dict(user.claims)
    folded = tuple(name for name in _FOLDED if name in claims and claims[name] == _attribute(user, name))
    for name in folded:
        del claims[name]
    rest = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
    derivable = user.user_id == f"{user.provider}:{user.subject}"
    return (
        dies_at,
        user.expires_at,
        user.user_id,
        user.provider,
        None if derivable else user.subject,
        _shared(user.tenant_id),
        user.email,
        user.email_verified,
        user.name,
        user.picture,
        _joined(user.permissions),
        _joined(user.roles),
        _shared(user.client_id),
        rest,
        _shared(" ".join(folded)),
        tenant.source,
        tenant.named,
    )


def _unpack(proof: Proof) -> tuple[MCPUserContext, Tenant]:
    (_, expires_at, user_id, provider, subject, tenant_id, email, email_verified, name, picture) = proof[:10]
    permissions, roles, client_id, rest, folded, source, named = proof[10:]
    if subject is None:
        subject = user_id[len(provider) + 1 :]
    user = MCPUserContext(
        user_id,
        provider,
        subject,
        tenant_id,
        email,
        email_verified,
        name,
        picture,
        _split(permissions),
        _split(roles),
        client_id,
        expires_at,
        FoldedClaims(rest, (folded, subject, email, name, picture)),
    )
    return user, _tenant(tenant_id, source, named)


class FoldedClaims(Claims):
    """Claims without the members that are attributes of the context; put back on first use."""

    __slots__ = ("_attributes",)

    def __init__(self, raw: bytes, attributes: tuple[str, str, str | None, str | None, str | None]) -> None:
        super().__init__(raw)
        self._attributes = attributes

    def _load(self) -> Any:
        if self._parsed is None:
            folded, *values = self._attributes
            known = dict(zip(_FOLDED, values, strict=True))
            self._parsed = {**json.loads(self._raw), **{name: known[name] for name in folded.split()}}
        return self._parsed


def _attribute(user: MCPUserContext, name: str) -> str | None:
    return user.subject if name == "sub" else getattr(user, name)


@lru_cache(maxsize=4096)
def _shared(text: str | None) -> str | None:
    """One object for equal texts."""
    return text


@lru_cache(maxsize=1024)
def _joined(names: frozenset[str]) -> str:
    return "\n".join(sorted(names))  # names are printable (core/policy.py): no line break inside


@lru_cache(maxsize=1024)
def _split(text: str) -> frozenset[str]:
    return frozenset(text.split("\n")) if text else frozenset()


@lru_cache(maxsize=4096)
def _tenant(tenant_id: str, source: Any, named: bool) -> Tenant:
    return Tenant(tenant_id, source, named)


class SingleFlight:
    """One piece of work per key at a time; everybody who wants it waits for the same one.

    A waiter that is cancelled harms nobody: the work goes on, for the others and for the cache.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, asyncio.Task[Any]] = {}

    async def run(self, key: bytes, work: Callable[[], Awaitable[T]]) -> T:
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(_outcome(work))
            self._flights[key] = task
            task.add_done_callback(lambda _: self._flights.pop(key, None))
        result, error = await asyncio.shield(task)
        if error is not None:
            raise error.again() if isinstance(error, Refusal) else error
        return result  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        flights = list(self._flights.values())
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


async def _outcome(work: Callable[[], Awaitable[T]]) -> tuple[T | None, Exception | None]:
    """The result or the error, as a value: a task that nobody waits for any more has nothing to complain of."""
    try:
        return await work(), None
    except Exception as error:  # handed to every waiter
        return None, error
