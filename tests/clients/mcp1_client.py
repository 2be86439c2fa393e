"""``python mcp1_client.py URL PERSON``: the official client of MCP 1.x signs in, calls both tools, and prints what they
said. It runs in an environment that has neither pytest nor the other tests."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

URL, PERSON = sys.argv[1:]


class Memory:
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def get_tokens(self) -> Any:
        return self.kept.get("tokens")

    async def set_tokens(self, tokens: Any) -> None:
        self.kept["tokens"] = tokens

    async def get_client_info(self) -> Any:
        return self.kept.get("client")

    async def set_client_info(self, client_info: Any) -> None:
        self.kept["client"] = client_info


async def main() -> None:
    came_back: dict[str, str] = {}
    asked: list[str] = []

    async def browse(url: str) -> None:
        asked.append(parse_qs(urlsplit(url).query)["scope"][0])
        async with httpx.AsyncClient(trust_env=False) as http:
            location = (await http.get(f"{url}&login_hint={PERSON}")).headers["location"]
        came_back.update({name: value for name, (value,) in parse_qs(urlsplit(location).query).items()})

    async def callback() -> tuple[str, str | None]:
        return came_back["code"], came_back["state"]

    wish = OAuthClientMetadata(redirect_uris=["http://127.0.0.1:3000/callback"], client_name="Notes")
    auth = OAuthClientProvider(URL, wish, Memory(), browse, callback)
    async with (
        httpx.AsyncClient(auth=auth, trust_env=False, timeout=20) as http,
        streamable_http_client(URL, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        who = await session.call_tool("whoami")
        wrote = await session.call_tool("write_note", {"text": "hello"})
    print(json.dumps({"who": who.structuredContent, "wrote": wrote.content[0].text, "scopes": asked}))


asyncio.run(main())
