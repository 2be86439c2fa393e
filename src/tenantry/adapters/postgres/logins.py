"""The logins that serve requests, and where their passwords come from.

One login that is a member of thousands of roles stalls every backend whenever a membership changes (PostgreSQL
reads the whole list again; with 10,000 of them 0.03 to 0.9 s), so tenants are spread over logins of at most
``BUCKET_SIZE``. The first may be the one that the operator made; the others are made here. Their passwords
follow from the operator's: every replica can compute them, and none is stored anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from .names import Deployment

BUCKET_SIZE = 250
_ITERATIONS = 4096  # RFC 7677 section 4; the passwords are 256 random bits, so more would buy nothing


@dataclass(frozen=True, slots=True)
class Credentials:
    """``password`` None: the server lets this login in by other means (trust, or the network)."""

    login: str
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Logins:
    """Who serves which bucket. ``own`` is the operator's login for requests, None when requests are served by
    logins of ours alone; ``secret`` is the password of the request DSN."""

    deployment: Deployment
    secret: str | None = field(repr=False)
    own: Credentials | None

    def of(self, bucket: int) -> Credentials:
        """The login of a bucket."""
        if bucket == 0 and self.own is not None:
            return self.own
        return self.derived(self.deployment.login(bucket))

    def is_ours(self, bucket: int) -> bool:
        """Whether the login is made and kept by tenantry."""
        return bucket > 0 or self.own is None

    def derived(self, login: str) -> Credentials:
        """A login of ours with the password that follows from the secret."""
        if self.secret is None:
            return Credentials(login, None)
        tag = hmac.digest(self.secret.encode(), f"tenantry login {login}".encode(), hashlib.sha256)
        return Credentials(login, base64.urlsafe_b64encode(tag).decode().rstrip("="))


def password_of(dsn: str) -> str | None:
    """The password that a connection string, or the environment beside it, gives."""
    parts = urlsplit(dsn)
    if parts.password:
        return unquote(parts.password)
    said = parse_qs(parts.query).get("password")
    return said[-1] if said else os.environ.get("PGPASSWORD") or None


def scram_verifier(password: str) -> str:
    """What PostgreSQL stores of a password (SCRAM-SHA-256, RFC 5802 section 3), made here so that the password
    itself never travels in a statement that a log could keep."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", hashlib.sha256)).digest()
    server = hmac.digest(salted, b"Server Key", hashlib.sha256)
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"
