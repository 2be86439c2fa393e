"""The nonces of a server that keeps no list of them (RFC 9449 section 8): a time under a key.

Whoever shows one has heard from a holder of the key since that time. It says nothing of who that is, and it is good for
any number of proofs while it lasts.
"""

from __future__ import annotations

import hashlib
import hmac

from . import base64url

LIFETIME = 300  # seconds
RENEWED_AFTER = 200  # seconds: from then on an answer brings the next one along
_MAC = 16
_TIME = 8


class Nonces:
    """Makes and knows nonces. ``secret`` may be anything long and random; replicas that share it know each other's.
    ``ahead`` is how many seconds another replica's clock may be ahead of ours."""

    def __init__(self, secret: bytes, *, ahead: float = 30.0) -> None:
        self._key = hmac.digest(secret, b"tenantry: nonces of DPoP proofs", "sha256")  # of this use and no other
        self._ahead = ahead

    def new(self, now: float) -> str:
        """A nonce of this moment (seconds since the epoch): 32 characters of base64url."""
        time = int(now).to_bytes(_TIME, "big")
        return base64url.encode(time + self._mac(time)).decode("ascii")

    def age(self, nonce: str, now: float) -> float | None:
        """How old it is in seconds; None for one that is not ours, or too old to count."""
        try:
            raw = base64url.decode(nonce.encode("ascii"))
        except ValueError:
            return None
        time, mac = raw[:_TIME], raw[_TIME:]
        if len(raw) != _TIME + _MAC or not hmac.compare_digest(mac, self._mac(time)):
            return None
        age = now - int.from_bytes(time, "big")
        return age if -self._ahead <= age < LIFETIME else None

    def _mac(self, time: bytes) -> bytes:
        return hmac.new(self._key, time, hashlib.sha256).digest()[:_MAC]
