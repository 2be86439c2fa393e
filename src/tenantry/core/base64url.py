"""base64url without padding (RFC 4648 section 5, RFC 7515 section 2), in its one canonical spelling."""

from __future__ import annotations

import string
from base64 import urlsafe_b64encode
from binascii import Error, a2b_base64

_ALPHABET = (string.ascii_letters + string.digits).encode()
# Byte -> byte of the standard alphabet; everything outside base64url becomes NUL, which strict decoding refuses.
_TO_STANDARD = bytes(
    {ord("-"): ord("+"), ord("_"): ord("/")}.get(byte, byte if byte in _ALPHABET else 0) for byte in range(256)
)
_PADDING = {0: b"", 2: b"==", 3: b"="}
# The last character of a group of 2 or 3 has 4 or 2 unused bits, which must be zero (RFC 4648 section 3.5):
# otherwise one token has many spellings, and so many cache keys.
_CANONICAL_ENDS = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}


def decode(text: bytes) -> bytes:
    """The bytes of a canonical spelling; ``ValueError`` for every other."""
    rest = len(text) % 4
    if rest == 1 or (rest and text[-1] not in _CANONICAL_ENDS[rest]):
        raise ValueError("not canonical base64url")
    try:
        return a2b_base64(text.translate(_TO_STANDARD) + _PADDING[rest], strict_mode=True)
    except Error:
        raise ValueError("not canonical base64url") from None


def encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
