"""What the audit costs: one event of a call, from the queue to a file, and what of that is on the path of a request.

Target: 1 us on the path, 6 us of processor time all in all (JSON, hash, its share of a batch), so that the warm path
keeps three quarters of the bare app's requests.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from tenantry import Settings
from tenantry.adapters.audit import Audit, make_audit
from tenantry.adapters.audit.writer import QUEUED
from tenantry.model import MCPUserContext
from tenantry.observations import About, Called

from .measure import Row

_ROUNDS = 7
_EVENTS = QUEUED - 1000
_KEY = "made-up-for-a-bench-0123456789abcdef"


def run(*, profile: bool = False) -> list[Row]:
    rows = []
    for name, key in (("SHA-256", None), ("HMAC-SHA-256", _KEY)):
        on_path, whole = asyncio.run(_measured(key))
        against = f"{_ROUNDS} rounds of {_EVENTS:,} calls of 200 users, written to a file"
        rows.append(Row(f"audit, {name}: a call, on its path", on_path, "us", against, "<=", 1.0))
        rows.append(Row(f"audit, {name}: a call, all in all", whole, "us", against, "<=", 6.0))
    return rows


async def _measured(key: str | None) -> tuple[float, float]:
    """The second is processor time of the whole process, so it counts the thread that writes."""
    with tempfile.TemporaryDirectory() as folder:
        audit = _audit(Path(folder) / "audit.log", key)
        users = [_user(number) for number in range(200)]
        await _round(audit, users)
        rounds = [await _round(audit, users) for _ in range(_ROUNDS)]
        await audit.aclose()
        if audit.dropped:
            raise RuntimeError("events were dropped")
        return statistics.median(one for one, _ in rounds), statistics.median(two for _, two in rounds)


def _audit(path: Path, key: str | None) -> Audit:
    settings = Settings(
        environment="development", host="127.0.0.1", api_key="none", audit_sinks=(f"file:{path}",), audit_hmac_key=key
    )
    audit = make_audit(settings, None, lambda _: None)
    if audit is None:
        raise RuntimeError("no audit")
    audit.start()
    return audit


async def _round(audit: Audit, users: list[MCPUserContext]) -> tuple[float, float]:
    calls = [_call(number, users[number % len(users)]) for number in range(_EVENTS)]
    begun = time.process_time()
    before = time.perf_counter()
    for each in calls:
        audit.observe(each)
    after = time.perf_counter()
    await audit.flush()
    return (after - before) / _EVENTS * 1e6, (time.process_time() - begun) / _EVENTS * 1e6


def _user(number: int) -> MCPUserContext:
    return MCPUserContext(f"google:{number}", "google", str(number), "acme_com", email=f"person{number}@acme.example")


def _call(number: int, user: MCPUserContext) -> Called:
    about = About(os.urandom(8).hex(), f"10.0.{number % 7}.1", None, "tools/call", f"tool_{number % 20}")
    return Called(user, about, 200, 0.0042)
