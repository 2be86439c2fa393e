"""A trail in a file, and callers to fill it with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tenantry import Settings
from tenantry.adapters.audit import Audit, make_audit
from tenantry.adapters.audit.chain import Seal
from tenantry.adapters.audit.reading import verify
from tenantry.model import MCPUserContext
from tenantry.observations import About, Called, Observation

KEY = "the-key-of-an-audit-made-up-for-tests-0123456789"
DEADLINE = 20.0  # seconds for a loaded machine


def settings(**values: Any) -> Settings:
    return Settings(environment="development", host="127.0.0.1", api_key="none", **values)


def caller(number: int = 1, tenant: str = "acme_com", **more: Any) -> MCPUserContext:
    values = {"provider": "google", "subject": str(number), "email": f"Person{number}@acme.example"} | more
    space = "apikey" if values["provider"] == "api_key" else values["provider"]
    return MCPUserContext(f"{space}:{number}", tenant_id=tenant, **values)


def about(number: int = 1, **more: Any) -> About:
    return About(**({"request_id": f"request-{number}", "address": "127.0.0.9"} | more))


def call(number: int = 1, user: MCPUserContext | None = None) -> Called:
    return Called(user or caller(), about(number, method="tools/call", name="add_note"), 200, 0.0123)


@asynccontextmanager
async def running(
    values: Settings, observe: Callable[[Observation], None] = lambda _: None, database: Any = None
) -> AsyncIterator[Audit]:
    audit = make_audit(values, database, observe)
    assert audit is not None
    audit.start()
    try:
        yield audit
    finally:
        await audit.aclose()


async def written(path: Path, *observations: Observation, **values: Any) -> list[dict[str, Any]]:
    """The rows of a file after one process has observed that."""
    async with running(settings(audit_sinks=(f"file:{path}",), **values)) as audit:
        for observation in observations:
            audit.observe(observation)
    return rows(path)


def text_of(path: Path) -> str:
    return path.read_text("ascii")


def put(path: Path, text: str) -> None:
    path.write_text(text, "ascii")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def findings(paths: Path | Sequence[Path], key: str | None = None) -> list[str]:
    """What ``verify`` finds."""
    several = [paths] if isinstance(paths, Path) else paths
    return [str(finding) for finding in verify(several, Seal(None if key is None else key.encode()))[1]]


def notes(path: Path) -> list[str]:
    return verify([path], Seal(None))[2]


async def until(true: Callable[[], bool]) -> None:
    """Wait for what another task does."""
    async with asyncio.timeout(DEADLINE):
        while not true():  # noqa: ASYNC110 - what is waited for is in another process, or in a file
            await asyncio.sleep(0.01)
