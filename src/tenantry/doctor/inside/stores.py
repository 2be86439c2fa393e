"""The quota store that replicas share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ..findings import Finding, error, ok
from .here import Here

_SECONDS = 5.0


async def redis_answers(here: Here) -> AsyncIterator[Finding]:
    settings = here.settings
    if settings.rate_limit_store != "redis" or settings.redis_url is None:
        return
    try:
        from redis.asyncio import Redis
        from redis.exceptions import RedisError
    except ImportError:
        yield error("redis", "The package redis is not installed.", "pip install 'tenantry[redis]'")
        return
    try:
        client = Redis.from_url(settings.redis_url.get_secret_value(), socket_connect_timeout=_SECONDS)
    except ValueError:  # its text may quote the URL
        yield error("redis", "The Redis URL cannot be read.")
        return
    try:
        async with asyncio.timeout(_SECONDS):
            await client.ping()
    except (RedisError, OSError) as problem:
        yield error("redis", f"Redis does not answer ({type(problem).__name__}): requests get 503.")
    else:
        yield ok("redis", "Redis answers.")
    finally:
        await client.aclose()
