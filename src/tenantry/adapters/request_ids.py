"""Which request it was: an id of ours or of a trusted proxy's."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from itertools import count

from ..core.redaction import is_suspect
from .forwarded import Peer

# What proxies write: a UUID, 32 hexadecimal digits (nginx), a ULID and the like.
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_HEXADECIMAL = re.compile(r"[0-9a-f]{32}")


class RequestIds:
    """Ids of this process: 48 random bits, chosen once, and a number. They say nothing and need not be secret."""

    def __init__(self) -> None:
        name = f"{secrets.token_hex(6)}-{{:x}}"
        self.new: Callable[[], str] = map(name.format, count(1)).__next__  # all of it in C

    def of(self, told: bytes | None, peer: Peer) -> str:
        """``told`` is the request's ``X-Request-ID``: taken from a trusted proxy in the form of an id, and where it
        could not be a credential (it goes to the log and to the audit)."""
        if told is not None and peer.trusted and _ID.fullmatch(told):
            text = told.decode("ascii")
            if _HEXADECIMAL.fullmatch(text) or not is_suspect(text):
                return text
        return self.new()
