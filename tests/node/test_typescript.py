"""The official TypeScript clients, which know nothing but the server's URL, sign in at the development identity
provider and call tools; or are given a header and no more."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.clients.servers import a_site, a_site_out_of_time

from .conftest import HERE, environment

pytestmark = pytest.mark.anyio

V1, V2 = "@modelcontextprotocol/sdk", "@modelcontextprotocol/client"
KINDS = [(V1, "legacy"), (V2, "legacy"), (V2, "auto"), (V2, "2026-07-28")]
KEY = "Yq7vB2nX9sLd4KfT6hWc1ZrP8mJg3Ae5"  # made up
Run = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(params=KINDS, ids=" ".join)
def run(request: pytest.FixtureRequest, node: Path, node_modules: Path, tmp_path: Path) -> Run:
    """``await run(site.url, ["whoami"], person="ann")``: what client.mjs prints. One memory for each test."""
    program = Path(shutil.copy(HERE / "client.mjs", node_modules.parent))  # where the packages are found
    package, revision = request.param

    async def run(url: str, *calls: tuple[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
        told = {"package": package, "revision": revision, "url": url, "calls": calls, "memory": str(tmp_path / "kept")}
        client = await asyncio.create_subprocess_exec(
            node, program, json.dumps(told | more), stdout=asyncio.subprocess.PIPE, env=environment()
        )
        out, _ = await asyncio.wait_for(client.communicate(), 60)
        return json.loads(out)

    return run


WHOAMI = ("whoami", {})
WRITE = ("write_note", {"text": "hello"})


def text(answer: dict[str, Any]) -> str:
    return answer["content"][0]["text"]


def statuses(told: dict[str, Any], url: str) -> list[int]:
    """What the server answered to POSTs."""
    return [status for method, asked, status in told["seen"] if asked == url and method == "POST"]


async def test_a_client_gets_from_the_first_401_to_a_tool_call(run: Run) -> None:
    async with a_site() as site:
        told = await run(site.url, WHOAMI, person="ann")
        assert told["calls"][0]["structuredContent"]["user"] == site.user_id("ann")
        assert told["calls"][0]["structuredContent"]["tenant"].startswith("org___")
        assert told["calls"][0]["structuredContent"]["client"] == told["memory"]["client"]["client_id"]
        assert statuses(told, site.url)[0] == 401
        assert set(statuses(told, site.url)[1:]) <= {200, 202}
        assert [asked["resource"] for asked in told["asked"]] == [site.url]
        assert len(site.asked("register")) == len(site.asked("token")) == 1


async def test_a_client_that_comes_back_does_not_sign_in_again(run: Run) -> None:
    async with a_site() as site:
        first = await run(site.url, WHOAMI, person="ann")
        second = await run(site.url, WHOAMI, person="ann")
        assert first["calls"][0]["structuredContent"] == second["calls"][0]["structuredContent"]
        assert second["asked"] == []
        assert 401 not in statuses(second, site.url)


async def test_a_tool_that_needs_more_makes_the_client_ask_for_more(run: Run) -> None:
    async with a_site(default_permissions="notes:read") as site:
        told = await run(site.url, WHOAMI, WRITE, WRITE, person="ann")
        assert [text(answer) for answer in told["calls"][1:]] == [f"{site.user_id('ann')} wrote hello"] * 2
        assert statuses(told, site.url).count(403) == 1
        assert ["notes:write" in asked["scope"].split() for asked in told["asked"]] == [False, True]


async def test_a_client_that_may_not_have_more_is_refused_and_does_not_ask_for_ever(run: Run) -> None:
    async with a_site(default_permissions="notes:read") as site:
        site.idp.auth0.authorization.rbac = True
        told = await run(site.url, WRITE, WHOAMI, person="bob")
        assert "error" in told["calls"][0]
        assert told["calls"][1]["structuredContent"]["user"] == site.user_id("bob")
        assert len(told["asked"]) <= 3


async def test_an_identity_provider_that_is_down_costs_nobody_the_sign_in(run: Run) -> None:
    """A 401 would make the client throw its token away; 503 does not."""
    async with a_site_out_of_time() as (site, world):
        site.idp.faults.set("auth0", "error", endpoint="jwks")
        down = await run(site.url, WHOAMI, person="ann")
        assert "error" in down["connected"]
        assert set(statuses(down, site.url)[1:]) == {503}
        assert down["memory"]["tokens"]["access_token"]
        site.idp.faults.clear()
        world.clock.advance(60)  # before that nobody asks again for the keys
        up = await run(site.url, WHOAMI, person="ann")
        assert up["calls"][0]["structuredContent"]["user"] == site.user_id("ann")
        assert up["memory"]["tokens"] == down["memory"]["tokens"]
        assert up["asked"] == []


async def test_who_may_list_without_signing_in_signs_in_for_the_first_tool(run: Run) -> None:
    async with a_site(anonymous_methods="ping,tools/list,server/discover") as site:
        told = await run(site.url, WHOAMI, WHOAMI, person="ann")
        assert {answer["structuredContent"]["user"] for answer in told["calls"]} == {site.user_id("ann")}
        assert statuses(told, site.url).count(401) == len(told["asked"]) == 1


@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
async def test_a_header_is_all_that_a_client_with_a_key_needs(run: Run, name: str) -> None:
    header = {name: KEY if name == "X-API-Key" else f"Bearer {KEY}"}
    async with a_site(api_keys={KEY: {"name": "ci", "tenant_id": "acme"}}) as site:
        told = await run(site.url, WHOAMI, headers=header)
        assert told["calls"][0]["structuredContent"]["tenant"] == "acme"
        assert set(statuses(told, site.url)) <= {200, 202}


async def test_a_key_that_nobody_knows_is_told_to_the_user(run: Run) -> None:
    async with a_site(api_keys={KEY: {"name": "ci"}}) as site:
        told = await run(site.url, WHOAMI, headers={"X-API-Key": KEY[::-1]})
        assert "error" in told["connected"]
        assert statuses(told, site.url) in ([401], [401, 401])
