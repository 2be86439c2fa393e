"""Rows that hold each other: every row has the hash of the one before it, and the last hash is kept apart.

A row is one line of JSON. ``hash`` covers all bytes before its own member, ``prev`` among them, so nobody needs to
write the line anew to check it. Without a key the hash is SHA-256: it finds accidents and clumsy changes. With one it
is HMAC-SHA-256 (RFC 2104), and whoever cannot read the key cannot compute a chain that holds.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

VERSION = 1
GENESIS = "0" * 64  # what the first row of a chain follows
_HASH = ',"hash":"'


def derived(key: bytes, purpose: str) -> bytes:
    """A key for one purpose out of the operator's: none of them tells another."""
    return hmac.digest(key, f"tenantry audit {purpose}".encode(), "sha256")


class Seal:
    """The hash of a chain. ``fingerprint`` tells rows of different keys apart; None without a key."""

    def __init__(self, key: bytes | None) -> None:
        self._rows = None if key is None else derived(key, "rows")
        self._heads = None if key is None else derived(key, "heads")
        self.fingerprint = None if key is None else derived(key, "fingerprint").hex()[:8]

    def row(self, content: bytes) -> str:
        """The hash of a row's bytes before its ``hash``."""
        return _digest(self._rows, content)

    def head(self, content: bytes) -> str:
        """The same for what is kept apart."""
        return _digest(self._heads, content)


def _digest(key: bytes | None, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if key is None else hmac.digest(key, content, "sha256").hex()


class Head(NamedTuple):
    """The last row of one writer in one place."""

    seq: int
    hash: str


START = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Chain:
    """What rows of one writer in one stream begin with. ``stream``: "file", "stdout", "operator" or "tenant"."""

    writer: str
    stream: str
    seal: Seal

    def rows(self, head: Head, bodies: Iterable[str]) -> tuple[list[str], Head]:
        """Lines for members without braces (``"id":"...","at":...``), and the head after them."""
        key = "" if self.seal.fingerprint is None else f'"key":"{self.seal.fingerprint}",'
        start = f'{{"v":{VERSION},"writer":"{self.writer}","stream":"{self.stream}",{key}"seq":'
        seq, previous = head
        seal, lines = self.seal.row, []
        for body in bodies:
            seq += 1
            content = f'{start}{seq},{body},"prev":"{previous}"'
            previous = seal(content.encode("ascii"))
            lines.append(f'{content}{_HASH}{previous}"}}')
        return lines, Head(seq, previous)


def parted(line: str) -> tuple[bytes, str] | None:
    """What a row's hash covers, and the hash; None for what is no whole row."""
    content, mark, end = line.rpartition(_HASH)
    if not mark or len(end) != 66 or not end.endswith('"}') or not line.isascii():
        return None
    return content.encode("ascii"), end[:64]
