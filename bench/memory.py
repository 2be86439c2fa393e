"""What a cached admission costs: bytes of resident memory, and the length of a full garbage collection.

A fresh child remembers 100,000 proofs of Google ID tokens (about 450 bytes of payload each: name, picture URL,
5,000 organisations, every user once), made by the real steps from verified claims to the admission; RSS and
``gc.collect()`` are read before and after. Precedent: facts/performance.md section 6: raw bytes 663 a token and
1.7 ms, a dict of claims 1,634 and 80 ms. Targets: 1 KiB each; 10 ms more than without them. ``--large`` also
does 1,000,000.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from tenantry.core.tenancy import TenantRules
from tenantry.model import Admission, Claims, VerifiedClaims
from tenantry.verdicts import VerdictCache

from .measure import Row, child
from .stack import bare, picture, stack

ENTRIES, LARGE, ORGANISATIONS = 100_000, 1_000_000, 5_000


def run(*, profile: bool = False, large: bool = False) -> list[Row]:
    return [row for entries in (ENTRIES, LARGE)[: 1 + large] for row in _rows(entries)]


def _rows(entries: int) -> list[Row]:
    seen = child("bench.memory", str(entries))
    per_entry = f"RSS growth; {seen['payload']:.0f} bytes of claims each, all of them readable"
    pause = f"full collection {seen['empty_ms']:.1f} -> {seen['full_ms']:.1f} ms; tracked {seen['tracked']:,.0f} more"
    rows = [
        Row(f"memory per admission, {entries:,}", seen["bytes"], "bytes", per_entry, "<=", 1024),
        Row(f"collection pause, {entries:,}", seen["pause_ms"], "ms", pause, "<=", 10),
    ]
    return rows if entries == ENTRIES else [replace(row, relation=None, target=None) for row in rows]


def _measure(entries: int) -> dict[str, float]:
    gated = stack(bare, token_cache_size=2 * entries)
    gate = gated.made.gate
    google, cache, rules = gate.providers["google"], gate._verdicts, TenantRules({})
    elsewhere = stack(bare, token_cache_size=2 * entries).made.gate._verdicts
    client, expires = gated.idp.google.client_id, time.time() + 3600

    def remember(number: int, cache: VerdictCache = cache) -> int:
        payload = _payload(number, client, int(expires))
        claims = json.loads(payload)
        verified = VerifiedClaims("google", "id_token", claims["sub"], Claims(payload, claims), float(claims["exp"]))
        identity = google.identify(verified)
        tenant = rules.assign(identity)
        cache.remember(_key(number), verified)
        user = gate._policy.context(verified, identity, tenant)
        cache.use(_key(number), verified, Admission(user, tenant, cached=True))
        return len(payload)

    for number in range(2 * ORGANISATIONS):  # lets the tables of shared texts and the allocator fill first
        remember(number, elsewhere)
    before_ms, before, before_tracked = _collection(), _rss(), len(gc.get_objects())
    sizes = [remember(number) for number in range(entries)]
    after = _rss()
    after_ms, after_tracked = _collection(), len(gc.get_objects())
    assert len(cache) == entries
    known = cache.proof(_key(entries - 1))
    assert known is not None
    assert dict(known.claims) == json.loads(_payload(entries - 1, client, int(expires)))
    return {
        "bytes": (after - before) / entries,
        "payload": sum(sizes) / entries,
        "empty_ms": before_ms,
        "full_ms": after_ms,
        "pause_ms": after_ms - before_ms,
        "tracked": after_tracked - before_tracked,
    }


def _payload(number: int, client: str, expires: int) -> bytes:
    """The claims of user ``number``, as Google writes them."""
    domain = f"org-{number % ORGANISATIONS}.example"
    seed = hashlib.sha256(str(number).encode()).hexdigest()
    given, family = f"Given{seed[:4]}", f"Family{seed[4:8]}"
    claims: dict[str, Any] = {
        "iss": "https://accounts.google.com",
        "azp": client,
        "aud": client,
        "sub": f"1{int(seed[:16], 16):020}"[:21],
        "hd": domain,
        "email": f"{given.lower()}.{number}@{domain}",
        "email_verified": True,
        "at_hash": seed[:22],
        "name": f"{given} {family}",
        "picture": picture(seed[:40]),
        "iat": expires - 3600,
        "exp": expires,
    }
    return json.dumps(claims, separators=(",", ":")).encode()


def _key(number: int) -> bytes:
    return hashlib.sha256(b"key %d" % number).digest()


def _collection() -> float:
    """Milliseconds (CPU) of a full collection, the median of five."""
    gc.collect()
    spent = []
    for _ in range(5):
        began = time.process_time()
        gc.collect()
        spent.append((time.process_time() - began) * 1e3)
    return median(spent)


def _rss() -> int:
    """Resident bytes of this process (Linux; elsewhere the peak, which only grows)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
