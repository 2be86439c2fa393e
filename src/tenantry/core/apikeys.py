"""API keys: ``mcpk_<env>_<keyid>_<secret><crc>``.

``env`` 2 to 12 lower-case letters; ``keyid`` 8 to 12 base62 characters (11 when made here), public; ``secret`` 43
base62 characters (256 bits); ``crc`` CRC-32 of everything before it in 6 base62 characters, which turns typing errors
and junk away offline and helps secret scanners: no security rests on it. Only ``[A-Za-z0-9_]``, so that a double
click selects all of it. Stored is SHA-256 of the whole key: with 256 random bits there is nothing a slow hash would
add.
"""

from __future__ import annotations

import hashlib
import re
import string
import zlib

PREFIX = "mcpk_"
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(r"(mcpk_[a-z]{2,12}_([0-9A-Za-z]{8,12})_[0-9A-Za-z]{43})([0-9A-Za-z]{6})")


def base62(number: int, width: int) -> str:
    """``number`` in base 62 (digits, upper case, lower case), left-padded with zeros to ``width``."""
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = DIGITS[digit] + text
    return text.rjust(width, "0")


def crc62(text: str) -> str:
    """CRC-32 (zlib) of the text in 6 base62 characters: GitHub's checksum uses the same form."""
    return base62(zlib.crc32(text.encode()), 6)


def compose_key(environment: str, key_id: bytes, secret: bytes) -> str:
    """A key from 8 and 32 random bytes. Raises ``ValueError`` for another length or a bad environment name."""
    if len(key_id) != 8 or len(secret) != 32:
        raise ValueError("a key id takes 8 random bytes and a secret 32")
    text = f"{PREFIX}{environment}_{base62(int.from_bytes(key_id, 'big'), 11)}_"
    text += base62(int.from_bytes(secret, "big"), 43)
    key = text + crc62(text)
    key_id_of(key)
    return key


def key_id_of(key: str) -> str:
    """The public id inside a well-formed key; ``ValueError`` when the form or the checksum is wrong."""
    match = _KEY.fullmatch(key)
    if match is None or crc62(match[1]) != match[3]:
        raise ValueError("not an API key of this form")
    return match[2]


def digest(key: bytes) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key).digest()


def digest_id(key_digest: bytes) -> str:
    """A public id for a key that carries none: it tells nothing of the key."""
    return "d" + hashlib.sha256(b"tenantry key id" + key_digest).hexdigest()[:11]
