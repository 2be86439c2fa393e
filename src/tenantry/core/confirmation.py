"""What a token is bound to (RFC 7800): the ``cnf`` claim, of which the thumbprint of a key (RFC 9449 section 6.1) is
the one kind that anybody can prove here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import TokenInvalid

_CHARACTERS = 43  # SHA-256 in base64url


def thumbprint_of(claims: Mapping[str, Any]) -> str | None:
    """The thumbprint of the key that a token is bound to, None when it is bound to none. Raises ``TokenInvalid`` for
    a binding that no proof could satisfy here: to a certificate, to several things at once, to nothing legible."""
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    if type(confirmation) is dict and set(confirmation) == {"jkt"}:
        value = confirmation["jkt"]
        if type(value) is str and len(value) == _CHARACTERS and value.isascii():
            return value
    raise TokenInvalid("sender_constrained")
