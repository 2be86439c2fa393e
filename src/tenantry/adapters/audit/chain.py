"""Rows that hold each other: every row has the hash of the one before it, and the last hash is kept apart.

A row is one line of JSON. ``hash`` covers all bytes before its own member, ``prev`` among them, so nobody needs to
write the line anew to check it. Without a key the hash is SHA-256: it finds accidents and clumsy changes. With one it
is HMAC-SHA-256 (RFC 2104), and whoever cannot read the key cannot compute a chain that holds.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

VERSION = 1
GENESIS = "0" * 64  # what the first row of a chain follows
_HASH = ',"hash":"'


class _Hash(Protocol):
    def hexdigest(self) -> str: ...


def derived(key: bytes, purpose: str) -> bytes:
    """A key for one purpose out of the operator's: none of them tells another."""
    return hmac.digest(key, f"tenantry audit {purpose}".encode(), "sha256")


class Seal:
    """The hash of a chain. ``fingerprint`` tells rows of different keys apart; None without a key."""

    def __init__(self, key: bytes | None) -> None:
        self._rows = hashlib.sha256 if key is None else _keyed(derived(key, "rows"))
        self._heads = hashlib.sha256 if key is None else _keyed(derived(key, "heads"))
        self.fingerprint = None if key is None else derived(key, "fingerprint").hex()[:8]

    def row(self, content: bytes) -> str:
        """The hash of a row's bytes before its ``hash``."""
        return self._rows(content).hexdigest()

    def head(self, content: bytes) -> str:
        """The same for what is kept apart."""
        return self._heads(content).hexdigest()


def _keyed(key: bytes) -> Callable[[bytes], _Hash]:
    """HMAC-SHA-256 for a key of 32 bytes. ``hmac.digest`` lets go of the interpreter for each row, and the thread that
    serves requests and the one that writes rows then take turns a thousand times a batch."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def digest(content: bytes) -> _Hash:
        first, second = inner.copy(), outer.copy()
        first.update(content)
        second.update(first.digest())
        return second

    return digest


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
