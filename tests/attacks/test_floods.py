"""Floods of junk: neither the providers nor other callers pay for them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support import Echo, World, ask, bearer, together

from tenantry.ports import HttpResponse
from tenantry.testing import FakeFetch

pytestmark = pytest.mark.anyio

TOKENINFO = "https://oauth2.googleapis.com/tokeninfo"
HEAVY = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "heavy", "arguments": {}}}'
JSON = [("content-type", "application/json"), ("content-length", str(len(HEAVY)))]
HERE, THERE = ("203.0.113.7", 50_000), ("198.51.100.9", 50_000)
KEY = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"


class Slow(FakeFetch):
    """A provider that refuses every token, after everybody who asks at once has asked."""

    async def __call__(self, request: Any) -> HttpResponse:
        self.requests.append(request)
        await asyncio.sleep(0.01)
        return HttpResponse(400, {}, b'{"error": "invalid_token"}')


def flooded(world: World, **changes: Any) -> tuple[Any, Slow]:
    world.fetch = fetch = Slow()
    values = {"environment": "production", "public_url": "https://mcp.example.com/mcp", "google_client_id": "ours"}
    keys = {"api_keys": {KEY: {"name": "ci", "tenant_id": "acme"}}}
    guarded = world.guard(Echo(), only=(), **(values | keys | {"rate_limit_anonymous": "10/60"} | changes))
    return guarded, fetch


def junk(number: int) -> list[tuple[str, str]]:
    return [("host", "mcp.example.com"), *bearer(f"ya29.{number:0>40}")]


async def test_a_hundred_bad_tokens_at_once_cost_ten_provider_calls(world: World) -> None:
    guarded, fetch = flooded(world)
    numbers = iter(range(100))
    replies = await together(100, lambda: ask(guarded, headers=junk(next(numbers)), client=HERE))
    assert len(fetch.requests) == 10
    assert sorted(reply.status for reply in replies) == [401] * 10 + [429] * 90


async def test_an_address_that_has_had_enough_is_told_when_to_come_back(world: World) -> None:
    guarded, fetch = flooded(world)
    for number in range(10):
        assert (await ask(guarded, headers=junk(number), client=HERE)).status == 401
    reply = await ask(guarded, headers=junk(10), client=HERE)
    assert (reply.status, reply.challenge) == (429, None)
    assert reply.headers["retry-after"] == "6"
    assert reply.headers["ratelimit-policy"] == '"address";q=10;w=60'
    assert reply.headers["ratelimit"] == '"address";r=0;t=6'
    world.clock.advance(6)
    assert (await ask(guarded, headers=junk(11), client=HERE)).status == 401
    assert len(fetch.requests) == 11


async def test_a_flood_from_one_address_leaves_the_others_alone(world: World) -> None:
    guarded, _ = flooded(world)
    for number in range(20):
        await ask(guarded, headers=junk(number), client=HERE)
    assert (await ask(guarded, headers=junk(99), client=THERE)).status == 401


async def test_a_key_goes_on_at_an_address_that_floods(world: World) -> None:
    guarded, _ = flooded(world)
    for number in range(20):
        await ask(guarded, headers=junk(number), client=HERE)
    good = [("host", "mcp.example.com"), ("x-api-key", KEY)]
    assert (await ask(guarded, headers=good, client=HERE)).status == 200


async def test_a_token_that_is_known_goes_on_at_an_address_that_floods(world: World) -> None:
    guarded = world.guard(Echo(), rate_limit_anonymous="5/60")
    token = world.idp.google.access_token("ann")
    assert (await ask(guarded, headers=bearer(token), client=HERE)).status == 200
    for number in range(10):
        last = await ask(guarded, headers=bearer(f"ya29.{number:0>40}"), client=HERE)
    assert last.status == 429
    assert (await ask(guarded, headers=bearer(token), client=HERE)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "Basic YTpi")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer junk")],
        [("x-api-key", "junk")],
        [("authorization", "Bearer a"), ("x-api-key", "b")],
        [("authorization", "Bearer a"), ("authorization", "Bearer a")],
        bearer("ya29." + "x" * 40),  # remembered as bad: asked once, counted each time
    ],
    ids=["none", "basic", "empty", "junk", "bad key", "two", "doubled", "remembered"],
)
async def test_whatever_is_not_a_credential_counts(world: World, headers: list[tuple[str, str]]) -> None:
    guarded, fetch = flooded(world, rate_limit_anonymous="3/60")
    statuses = [
        (await ask(guarded, headers=[("host", "mcp.example.com"), *headers], client=HERE)).status for _ in range(5)
    ]
    assert 429 not in statuses[:3]
    assert statuses[3:] == [429, 429]
    assert len(fetch.requests) <= 1


async def test_good_credentials_do_not_count_however_many_are_new(world: World) -> None:
    guarded = world.guard(Echo(), rate_limit_anonymous="2/60")
    for _ in range(6):
        token = world.idp.google.access_token("ann")
        assert (await ask(guarded, headers=bearer(token), client=HERE)).status == 200


async def test_an_outage_of_the_provider_is_not_held_against_anybody(world: World) -> None:
    guarded = world.guard(Echo(), rate_limit_anonymous="2/60")
    with world.idp.faults.during("google", "error"):
        for number in range(6):
            reply = await ask(guarded, headers=bearer(f"ya29.{number:0>40}"), client=HERE)
            assert reply.status == 503


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.7", "203.0.113.8", False),
        (None, None, True),
        ("not an address: really", "nor: this", True),
    ],
)
async def test_an_ipv6_customer_is_one_address_and_so_is_everybody_without(
    world: World, first: str | None, second: str | None, shared: bool
) -> None:
    guarded, _ = flooded(world, rate_limit_anonymous="1/60")
    clients = [None if address is None else (address, 1) for address in (first, second)]
    statuses = [(await ask(guarded, headers=junk(1), client=client)).status for client in clients]
    assert statuses == [401, 429 if shared else 401]


async def test_a_forwarded_address_of_nobody_in_particular_opens_no_new_budget(world: World) -> None:
    guarded, _ = flooded(world, rate_limit_anonymous="2/60")
    for number in range(4):
        invented = [("x-forwarded-for", f"192.0.2.{number}"), ("x-real-ip", f"192.0.2.{number}")]
        last = await ask(guarded, headers=[*junk(number), *invented], client=HERE)
    assert last.status == 429


async def test_behind_a_trusted_proxy_each_client_has_a_budget_of_his_own(world: World) -> None:
    guarded, _ = flooded(world, rate_limit_anonymous="2/60", trusted_proxies="10.0.0.0/8")

    async def through_the_proxy(client: str, number: int) -> int:
        headers = [*junk(number), ("x-forwarded-for", client), ("x-forwarded-proto", "https")]
        return (await ask(guarded, headers=headers, client=("10.1.2.3", 1))).status

    assert [await through_the_proxy("192.0.2.1", number) for number in range(3)] == [401, 401, 429]
    assert await through_the_proxy("192.0.2.2", 9) == 401


async def test_off_is_off(world: World) -> None:
    guarded, fetch = flooded(world, rate_limit_anonymous="off")
    for number in range(30):
        assert (await ask(guarded, headers=junk(number), client=HERE)).status == 401
    assert len(fetch.requests) == 30


async def test_one_user_who_floods_does_not_spend_what_his_tenant_shares(world: World) -> None:
    guarded = world.guard(Echo(), rate_limit_user="3/60", rate_limit_tenant="10/60")
    ann, bob = (bearer(world.idp.google.id_token(name)) for name in ("ann", "bob"))
    statuses = [(await ask(guarded, headers=ann)).status for _ in range(40)]
    assert statuses.count(200) == 3
    assert [(await ask(guarded, headers=bob)).status for _ in range(3)] == [200, 200, 200]


async def test_who_waits_as_long_as_he_is_told_gets_his_weighty_call_through(world: World, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rule]]\ntool = "heavy"\npermissions = ["use"]\nweight = 20\n')
    keys = {KEY: {"name": "ci", "permissions": ["use"]}}
    guarded = world.guard(Echo(), policy_file=policy, rate_limit_api_key="50/50", api_keys=keys)

    async def call() -> Any:
        return await ask(guarded, headers=[("x-api-key", KEY), *JSON], body=HEAVY)

    assert [(await call()).status for _ in range(2)] == [200, 200]
    refused = await call()
    assert (refused.status, refused.headers["retry-after"]) == (429, "11")
    world.clock.advance(float(refused.headers["retry-after"]))
    assert (await call()).status == 200
