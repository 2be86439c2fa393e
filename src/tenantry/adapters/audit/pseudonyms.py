"""People under names that only their own key resolves: whoever drops the key has dropped the person.

Each user has 32 random bytes. A pseudonym is "~" and 26 characters of base32 of an HMAC with them, so without the key
nobody can try addresses or ids until one fits. API keys name programs and stay as they are.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from ...model import MCPUserContext
from .chain import derived

PERSONAL = "u___"  # a tenant of a person's own: a hash of the user id, which would name him (core/tenancy.py)
_PROGRAMS = ("apikey:",)


class Keys(Protocol):
    """Where the users' keys are. Raises whatever its store raises; nothing waits for it but the writer."""

    async def of(self, user_ids: Collection[str]) -> Mapping[str, bytes]:
        """The key of each, made where there is none. All writers get the same."""
        ...


def new_key() -> bytes:
    return secrets.token_bytes(32)


class DerivedKeys:
    """For a trail without a store: keys that follow from the operator's, and that nobody can drop."""

    def __init__(self, key: bytes) -> None:
        self._key = derived(key, "users")

    async def of(self, user_ids: Collection[str]) -> Mapping[str, bytes]:
        return {user_id: self.known(user_id) for user_id in user_ids}

    def known(self, user_id: str) -> bytes:
        return hmac.digest(self._key, user_id.encode(), "sha256")


def _word(key: bytes, what: str, text: str) -> str:
    digest = hmac.digest(key, f"{what}\0{text}".encode("utf-8", "surrogatepass"), "sha256")
    return "~" + base64.b32encode(digest)[:26].decode("ascii").lower()


def user_word(key: bytes, user_id: str) -> str:
    """ "<provider>:~<26>"."""
    return f"{user_id.partition(':')[0]}:{_word(key, 'user', user_id)}"


def email_word(key: bytes, email: str) -> str:
    return _word(key, "email", email.lower())


def tenant_word(key: bytes, tenant_id: str) -> str:
    """For a tenant of one person."""
    return PERSONAL + _word(key, "tenant", tenant_id)


@dataclass(frozen=True, slots=True)
class Naming:
    """How people appear: ``users`` "pseudonym" or "plain"; ``email`` "hmac", "plain" or "off"."""

    users: Literal["pseudonym", "plain"]
    email: Literal["hmac", "plain", "off"]

    @property
    def needs_keys(self) -> bool:
        return self.users == "pseudonym" or self.email == "hmac"

    def wants_key(self, user: MCPUserContext) -> bool:
        if user.user_id.startswith(_PROGRAMS):
            return False
        return self.users == "pseudonym" or (self.email == "hmac" and user.email is not None)

    def named(self, user: MCPUserContext, key: bytes | None) -> tuple[str, str, str | None]:
        """User, tenant and e-mail as they are written. ``key``: the user's, where ``wants_key``."""
        word, tenant, email = user.user_id, user.tenant_id, user.email if self.email == "plain" else None
        if key is None:
            return word, tenant, email
        if self.email == "hmac" and user.email is not None:
            email = email_word(key, user.email)
        if self.users == "pseudonym":
            word = user_word(key, word)
            if tenant.startswith(PERSONAL):
                tenant = tenant_word(key, tenant)
        return word, tenant, email
