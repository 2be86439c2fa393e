"""Bytes out of bytes: small changes, pieces of others, and words that mean something to the parsers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MOST = 4096  # bytes of an input
WORDS = (
    *(bytes([byte]) for byte in b'{}[]",:.\\/=-_+ \t\r\n\x00\x7f\x80\xff'),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"Bearer ", b"DPoP ", b"bearer\t", b"data: "),
    *rb"""\ud800 \udc00 \u0000 \ud83d\ude00 NaN Infinity -0 1e400 -1 0 1.0 9007199254740993 true null "" {} []
    "alg":"none" "alg":"HS256" "crit":["b64"] "b64":false "kid":1 "enc":"A256GCM" "typ":"dpop+jwt" "iss":[] "aud":[]
    "exp":1e400 "sub":"" "cnf":{} "jwk":{} "active":true "htu":"//" ${X} <token> mcpk_ ghs_1_ ya29. gho_ sk_ eyJ
    "method":"tools/call" "Method":1 "params":{} "id":null "result":{} "name":1 "uri":"x:" http:// // /.. %2e % # ? @
    :0 :99999 [::1] xn-- example.com""".split(),
)


def mutated(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus, the latest as often as all others, after one to five changes."""
    data = rng.choice((corpus[-1], rng.choice(corpus)))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        data = rng.choice(_CHANGES)(rng, data, corpus)
    return data[:MOST]


def _flip(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def _set(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + bytes([rng.choice((rng.randrange(256), rng.randrange(32, 127)))]) + data[place + 1 :]


def _replace(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + rng.choice(WORDS) + data[end:]


def _insert(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    place = rng.randint(0, len(data))
    return data[:place] + rng.choice((rng.choice(WORDS), rng.randbytes(rng.randint(1, 4)))) + data[place:]


def _cut(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _double(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 20)) + data[end:]


def _splice(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    other = rng.choice(corpus)
    start, end = _span(rng, other)
    place = rng.randint(0, len(data))
    return data[:place] + other[start:end] + data[place:]


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 2, 4, 16, 64)))


_CHANGES: tuple[Callable[[random.Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip, _set, _replace, _insert, _cut, _double, _splice,
)  # fmt: skip
