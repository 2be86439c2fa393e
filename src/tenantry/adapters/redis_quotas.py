"""Quotas that all replicas share, in Redis or Valkey: one call of one script for a round of callers.

All keys have one hash tag, so the script also runs behind a proxy that spreads keys over a cluster. Connecting to the
nodes of a cluster is not supported: the whole state is a few dozen bytes for each caller of the last minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from ..core.quota import Charge, Standing, standing_of
from ..errors import ConfigurationError
from .quota_rounds import CONNECT_SECONDS, PATIENCE, Chain, Rounds

if TYPE_CHECKING:
    from redis.asyncio import Connection

# One chain of charges after the other, each to its end (``last``) or the first that is refused. ``used`` units were out
# of a bucket ``at`` (microseconds of the server's clock), written with all their digits: Lua's own way keeps 14. A full
# bucket is as good as none, so its key ends then. A clock that has been set back is believed at once.
SCRIPT = b"""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local buckets, answers, refused = {}, {}, false
for i, key in ipairs(KEYS) do
    local weight, capacity, window = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
    if not refused then
        local bucket = buckets[key]
        if not bucket then
            local used, at = string.match(redis.call('GET', key) or '0 0', '^(%S+) (%S+)$')
            local back = math.max(0, now - tonumber(at)) * capacity / (window * 1000000)
            bucket = {used = math.max(0, tonumber(used) - back), changed = tonumber(at) > now}
            buckets[key] = bucket
        end
        bucket.used = math.min(bucket.used, capacity)
        bucket.empties = window * 1000 / capacity
        refused = bucket.used + weight > capacity + 0.000001
        if not refused then
            bucket.used, bucket.changed = bucket.used + weight, true
        end
        answers[#answers + 1] = string.format('%.17g', bucket.used)
        answers[#answers + 1] = refused and 0 or 1
    end
    refused = refused and ARGV[4 * i] == '0'
end
for key, bucket in pairs(buckets) do
    if bucket.changed then
        local ends = string.format('%.0f', math.ceil(bucket.used * bucket.empties) + 1)
        redis.call('SET', key, string.format('%.17g %.0f', bucket.used, now), 'PX', ends)
    end
end
return answers
"""
_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()  # EVALSHA names a script by it
_PREFIX = b"tenantry:{quota}:"
# Those that decide which server it is, and how it is known to be the right one. Any other could switch that off.
_OPTIONS = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})

_NO_CLIENT = "MCP_HTTP_RATE_LIMIT_STORE=redis needs the Redis client: install tenantry with its extra redis."
_BAD_URL = (
    "MCP_HTTP_REDIS_URL is not a URL that can be used: write redis://user:password@host:6379/0, or rediss:// for TLS."
)
_BAD_OPTION = "MCP_HTTP_REDIS_URL has an option {option!r} that is not taken there: use {known} or none."


class RedisQuotaStore:
    """``ports.QuotaStore`` on the server at ``url``: redis://, rediss:// or unix://. Two connections at most, opened
    when needed. Deployments that share a server take one database number each.

    The server's clock decides, so replicas need not agree on the time. Raises ``Unavailable`` ("quota_unavailable")
    ``patience`` seconds after the call at the latest; ``ConfigurationError`` at once, without the client's package and
    for a URL that is none.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._pool = _pool(url)
        self._rounds = Rounds(self._connect, patience)

    async def spend(self, charges: Sequence[Charge]) -> Sequence[Standing]:
        return await self._rounds.spend(charges)

    async def aclose(self) -> None:
        """Disconnect. Later use is ``Unavailable``."""
        await self._rounds.aclose()

    async def _connect(self) -> _Link:
        connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return _Link(connection, self._patience)


def _pool(url: str) -> Any:
    """Only to make connections, with what the URL says."""
    try:
        from redis.asyncio import ConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise ConfigurationError(_NO_CLIENT) from None
    try:
        _check(url)
        return ConnectionPool.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
            socket_timeout=None,
            socket_connect_timeout=None,  # ours is for all of it, the greeting and the log-in too
            health_check_interval=0,
        )
    except ValueError:  # its text may quote the URL
        raise ConfigurationError(_BAD_URL) from None


def _check(url: str) -> None:
    """What the client would pass over in silence. Raises ``ValueError`` and ``ConfigurationError``."""
    parts = urlsplit(url)
    options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    if parts.scheme != "unix" and not (parts.hostname and re.fullmatch(r"/?[0-9]{0,3}", parts.path)):
        raise ValueError("not a server's URL")
    for option in options.keys() - _OPTIONS:
        raise ConfigurationError(_BAD_OPTION.format(option=option, known=", ".join(sorted(_OPTIONS))))


class _Link:
    """One connection."""

    def __init__(self, connection: Connection, patience: float) -> None:
        self._connection, self._patience = connection, patience

    @property
    def usable(self) -> bool:
        return bool(self._connection.is_connected)

    async def take(self, chains: Sequence[Chain]) -> Sequence[Sequence[Standing]]:
        try:
            async with asyncio.timeout(self._patience):
                said = iter(await self._run(chains))
            return [_heard(chain, said) for chain in chains]
        except BaseException:
            await self._connection.disconnect(nowait=True)
            raise

    async def close(self) -> None:
        from redis.exceptions import RedisError

        with suppress(OSError, RedisError):  # gone already: that was wanted
            await self._connection.disconnect()

    async def _run(self, chains: Sequence[Chain]) -> Sequence[Any]:
        from redis.exceptions import NoScriptError

        keys = [_PREFIX + asked.key.hex().encode() for chain in chains for asked in chain]
        arguments = (len(keys), *keys, *_terms(chains))
        try:
            return await self._say("EVALSHA", _SHA, *arguments)
        except NoScriptError:  # the server is new, or was told to forget
            return await self._say("EVAL", SCRIPT, *arguments)

    async def _say(self, *command: Any) -> Sequence[Any]:
        await self._connection.send_command(*command)
        answer: Sequence[Any] = await self._connection.read_response()
        return answer


def _terms(chains: Sequence[Chain]) -> Iterator[float]:
    for chain in chains:
        for left, (_, quota, weight) in enumerate(chain, 1 - len(chain)):
            yield from (weight, quota.limit, quota.window, int(left == 0))


def _heard(chain: Chain, said: Iterator[Any]) -> list[Standing]:
    standings: list[Standing] = []
    for _, quota, weight in chain:
        used, passed = float(next(said)), next(said) == 1
        standings.append(standing_of(quota, weight, used, passed))
        if not passed:
            break
    return standings
