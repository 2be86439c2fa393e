"""API keys: for service accounts, and for clients that can hold nothing else.

Only digests are kept, they are compared in constant time, and an unknown key costs what a known one costs. Nothing
is cached: a local comparison is cheaper than the digest of a cache key, and revocation then works at once.
"""

from __future__ import annotations

import hmac

from ..core import apikeys
from ..core.matching import API_KEY, Presented
from ..core.tenancy import personal_tenant_id
from ..errors import TokenInvalid
from ..model import ApiKeyRecord, Claims, Identity, VerifiedClaims
from ..ports import ApiKeyStore, Clock
from .base import user_id

_NO_DIGEST = b"\0" * 32


class ApiKeyProvider:
    """The provider "api_key"; the user is ``apikey:<key id>``."""

    name = API_KEY
    issuers: tuple[str, ...] = ()
    authorization_servers: tuple[str, ...] = ()
    cacheable = False

    def __init__(self, store: ApiKeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def verify(self, presented: Presented) -> VerifiedClaims:
        digest = apikeys.digest(presented.text.encode())
        record = await self._store.find(_key_id(presented.text, digest), digest)
        if not hmac.compare_digest(record.digest if record else _NO_DIGEST, digest) or record is None:
            raise TokenInvalid("api_key_invalid")
        self._check_life(record)
        claims = {"sub": record.key_id, "name": record.name, "scope": " ".join(sorted(record.permissions))}
        if record.tenant_id:
            claims["tenant_id"] = record.tenant_id
        return VerifiedClaims(self.name, "api_key", record.key_id, Claims.of(claims), record.expires_at)

    def identify(self, verified: VerifiedClaims) -> Identity:
        claims = verified.claims
        who = user_id("apikey", verified.subject)
        return Identity(
            user_id=who,
            provider=self.name,
            subject=verified.subject,
            name=claims["name"],
            client_id=who,
            permissions=frozenset(claims["scope"].split()),
            tenant_id=claims.get("tenant_id") or personal_tenant_id(who),
        )

    def start(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    def _check_life(self, record: ApiKeyRecord) -> None:
        now = self._clock.now()
        if record.revoked or (record.not_before is not None and now < record.not_before):
            raise TokenInvalid("api_key_invalid")
        if record.expires_at is not None and now >= record.expires_at:
            raise TokenInvalid("api_key_expired")


def _key_id(text: str, digest: bytes) -> str:
    """The id inside a key of our form, or the one derived from the digest of any other. A key of our form whose
    checksum fails is a typing error: no store is asked."""
    if not text.startswith(apikeys.PREFIX):
        return apikeys.digest_id(digest)
    try:
        return apikeys.key_id_of(text)
    except ValueError:
        raise TokenInvalid("api_key_invalid") from None
