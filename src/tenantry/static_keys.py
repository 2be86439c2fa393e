"""The API keys of the configuration: ``MCP_HTTP_API_KEY`` and ``MCP_HTTP_API_KEYS``, reduced to digests."""

from __future__ import annotations

import re

from .core import apikeys
from .core.matching import looks_like_another_kind
from .errors import ConfigurationError
from .model import ApiKeyRecord
from .settings import ApiKeyEntry, Settings

LEAST_CHARACTERS = 32
LEAST_DISTINCT = 10  # of 32 random base62 characters about 25 are distinct; "changeme" four times has 7
_WELL_KNOWN = ("changeme", "dev-key", "test-key", "example", "secret", "password", "12345678", "your-api-key")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FORM = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # it must fit into "Authorization: Bearer" (RFC 9110 section 11.2)


def read_api_keys(settings: Settings) -> list[ApiKeyRecord]:
    """Every configured key as a record. Raises ``ConfigurationError`` naming the variable and the key's name."""
    records = []
    if settings.api_key is not None:
        key = settings.api_key.get_secret_value()
        records.append(_record("MCP_HTTP_API_KEY", key, ApiKeyEntry(name="MCP_HTTP_API_KEY"), settings))
    for key, entry in (settings.api_keys or {}).items():
        records.append(_record(f"MCP_HTTP_API_KEYS ({entry.name})", key, entry, settings))
    if len({record.digest for record in records}) != len(records):
        raise ConfigurationError("MCP_HTTP_API_KEYS holds one key twice.")
    if len({record.key_id for record in records}) != len(records):
        raise ConfigurationError("MCP_HTTP_API_KEYS gives two keys the same id.")
    return records


def plain_digests(records: list[ApiKeyRecord]) -> frozenset[bytes]:
    """Digests by which routing knows a key that carries no prefix."""
    return frozenset(record.digest for record in records)


def _record(variable: str, key: str, entry: ApiKeyEntry, settings: Settings) -> ApiKeyRecord:
    hashed = _DIGEST.fullmatch(key)
    if hashed is None:
        check_strength(variable, key, development=settings.development)
    digest = bytes.fromhex(hashed[1]) if hashed else apikeys.digest(key.encode())
    return ApiKeyRecord(
        key_id=entry.id or _key_id(variable, key, digest),
        digest=digest,
        name=entry.name,
        tenant_id=entry.tenant_id,
        permissions=frozenset(entry.permissions),
        expires_at=entry.expires_at,
        not_before=entry.not_before,
    )


def _key_id(variable: str, key: str, digest: bytes) -> str:
    if not key.startswith(apikeys.PREFIX):
        return apikeys.digest_id(digest)
    try:
        return apikeys.key_id_of(key)
    except ValueError:
        raise ConfigurationError(
            f"{variable} begins with {apikeys.PREFIX} but its form or checksum is wrong: was it cut when copied?"
        ) from None


def check_strength(variable: str, key: str, *, development: bool) -> None:
    """Raise ``ConfigurationError`` unless a key is long, random and unmistakable; development may do with less."""
    if not _FORM.fullmatch(key):
        raise ConfigurationError(f"{variable} has characters that do not fit a header: use A-Z a-z 0-9 - . _ ~ + /.")
    if not key.startswith(apikeys.PREFIX) and looks_like_another_kind(key):
        raise ConfigurationError(f"{variable} looks like a token of another service: make a random key of its own.")
    if development:
        return
    if len(key) < LEAST_CHARACTERS:
        raise ConfigurationError(
            f"{variable} is too short ({len(key)} characters): use at least {LEAST_CHARACTERS} random ones "
            '(python -c "import secrets; print(secrets.token_urlsafe(32))").'
        )
    if len(set(key)) < LEAST_DISTINCT or any(word in key.lower() for word in _WELL_KNOWN):
        raise ConfigurationError(f"{variable} is a well-known or guessable value: make a random key.")
