"""How much a stranger's address may ask for: requests without a credential, and with a bad one.

They are counted in this process alone: a flood of junk must not become a flood of whatever store the replicas share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv6Network

from .core.quota import Quota, spend
from .errors import OverQuota, Refusal, TokenInvalid
from .limits import Limit
from .ports import Clock
from .providers.base import Provider
from .quotas import limit_of, over_quota
from .request import Request

ADDRESSES = 100_000


class Strangers:
    """Requests without a credential and with a bad one, for each address of a client.

    Who has shown too many waits before the next unknown credential of his is looked at; a credential that is known
    already is not held up by others at the same address. Bounded: past ``ADDRESSES`` the one least lately heard of
    starts anew.
    """

    def __init__(self, clock: Clock, quota: Quota | None) -> None:
        self._now = clock.monotonic
        self._quota = quota
        self._arrivals: OrderedDict[str, float] = OrderedDict()

    def charge(self, request: Request, weight: int = 1) -> Sequence[Limit]:
        """Count a request. Raises ``OverQuota`` when its address has used up what it has."""
        if self._quota is None or not request.counts:
            return ()
        bucket = _bucket(request.address)
        arrival, standing = spend(self._arrivals.get(bucket), self._quota, self._now(), weight)
        self._arrivals[bucket] = arrival
        self._arrivals.move_to_end(bucket)
        if len(self._arrivals) > ADDRESSES:
            self._arrivals.popitem(last=False)
        limits = (limit_of("address", self._quota, standing),)
        if standing.wait:
            raise over_quota("address", standing, limits)
        return limits

    def counted(self, refusal: Refusal, request: Request) -> Refusal:
        """``refusal``, held against the address it came from; ``OverQuota`` in its place when that has had enough."""
        if refusal.counted:
            return refusal
        try:
            self.charge(request)
        except OverQuota as over:
            return over
        return refusal

    @contextmanager
    def reserved(self, request: Request, provider: Provider) -> Iterator[None]:
        """A unit for asking ``provider`` about an unknown credential, kept when that is bad: however many are shown at
        once, no more are asked about than the address has units. Who is asked for nothing needs none."""
        if not provider.cacheable:
            yield
            return
        self.charge(request)
        try:
            yield
        except TokenInvalid as refusal:
            refusal.counted = True
            raise
        except BaseException:
            self._give_back(request)
            raise
        self._give_back(request)

    def _give_back(self, request: Request) -> None:
        bucket = _bucket(request.address)
        if self._quota is not None and bucket in self._arrivals:
            self._arrivals[bucket] -= self._quota.window / self._quota.limit


def _bucket(address: str | None) -> str:
    """One customer's addresses: IPv4 whole, IPv6 by its network of 64 bits, the least that one gets (RFC 6177); one for
    all that have none."""
    if address is None or ":" not in address:
        return address or "unknown"
    try:
        network = IPv6Network((address.partition("%")[0], 64), strict=False)
    except ValueError:
        return "unknown"
    return str(network)
