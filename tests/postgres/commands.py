"""The command line on a test's database, in this process: what it says, and how it ends."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tenantry.cli import main

KEY = "a-key-that-nobody-else-has-" + "x" * 16


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Commands:
    """``await commands("tenants", "create", ...)`` runs ``tenantry tenants create ...`` to its end."""

    def __init__(self, dsns: Any, migrations: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.folder = migrations
        self.set("DATABASE_CONNECTION_STRING", dsns.app)
        self.set("DIRECT_DATABASE_URL", dsns.admin)
        self.set("TENANT_MIGRATIONS", str(migrations))
        self.set("API_KEYS", json.dumps({KEY: {"name": "a test", "permissions": ["read"]}}))

    def set(self, name: str, value: str) -> None:
        self._monkeypatch.setenv(f"MCP_HTTP_{name}", value)

    def migrations(self, *scripts: str) -> None:
        """What the tenants' tables are made by from now on."""
        for number, script in enumerate(scripts, 1):
            (self.folder / f"{number:03}.sql").write_text(script)

    async def __call__(self, *words: str, stdin: str = "") -> Said:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, words)
        return Said(code, *self._capsys.readouterr())

    async def done(self, *words: str, stdin: str = "") -> Said:
        """One that must succeed."""
        said = await self("tenants", *words, stdin=stdin)
        assert said.code == 0, said
        return said

    async def refused(self, *words: str, stdin: str = "") -> str:
        """One that must not; the sentence."""
        said = await self("tenants", *words, stdin=stdin)
        assert (said.code, said.out) == (2, ""), said
        assert "Traceback" not in said.err
        return said.err
