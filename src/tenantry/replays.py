"""The proofs of possession that have been used, for as long as one could be used again (RFC 9449 section 11.1).

Only what holds in every other way gets here, so junk takes no place. One caller has a share and no more; when all
places are taken, whoever comes next waits: an entry is never dropped for another, because the proof behind it would
count again. Each process remembers its own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from heapq import heappop, heappush

from .errors import OverQuota, ProofInvalid, Unavailable

SIZE = 200_000  # proofs: some 50 MB, and 1,600 requests a second with proofs of a minute
SHARE = 20_000  # of one caller: 160 requests a second


class Replays:
    """Used proofs by the digest of their key and id. ``size`` of all, ``share`` of one caller."""

    def __init__(self, size: int = SIZE, share: int = SHARE) -> None:
        self._size, self._share = size, share
        self._used: set[bytes] = set()
        self._ends: list[tuple[float, bytes, str]] = []  # a heap: the first to end is the first
        self._of_caller: Counter[str] = Counter()
        self._forgotten = 0.0  # proofs that end before may have been used

    def __len__(self) -> int:
        return len(self._used)

    def use(self, caller: str, thumbprint: str, id: str, now: float, ends_at: float) -> None:
        """Mark a proof as used until ``ends_at``, from when on its age refuses it (seconds since the epoch, both).

        Raises ``ProofInvalid`` for one that was used before, ``OverQuota`` when this caller has used up his share and
        ``Unavailable`` when there is no place for anybody.
        """
        self._forget(now)
        digest = hashlib.sha256(f"{thumbprint} {id}".encode()).digest()[:16]
        if digest in self._used:
            raise ProofInvalid("proof_replayed")
        if ends_at <= self._forgotten:  # our clock was set back: nobody knows any more
            raise ProofInvalid("proof_stale")
        if self._of_caller[caller] >= self._share:
            raise OverQuota("proof_quota", retry_after=self._ends[0][0] - now)
        if len(self._used) >= self._size:
            raise Unavailable("proofs_full", retry_after=self._ends[0][0] - now)
        self._used.add(digest)
        self._of_caller[caller] += 1
        heappush(self._ends, (ends_at, digest, caller))

    def _forget(self, now: float) -> None:
        self._forgotten = max(self._forgotten, now)
        while self._ends and self._ends[0][0] <= now:
            _, digest, caller = heappop(self._ends)
            self._used.discard(digest)
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]
