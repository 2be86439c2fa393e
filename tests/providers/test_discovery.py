"""Discovery: a document counts for the issuer that was configured, and leads to that issuer's own host only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.providers.issuers import a_door
from tests.support import World

from tenantry.devidp import OMIT
from tenantry.devidp.faults import error, rate_limited, redirect
from tenantry.observations import KeysRefreshFailed, Misconfigured
from tenantry.ports import FetchFailed, HttpRequest, HttpResponse
from tenantry.providers.discovery import DiscoveredKeys, discovery_url
from tenantry.testing import FakeFetch, FrozenClock, Recorder

pytestmark = pytest.mark.anyio
ISSUER = "https://id.example/tenant1"


def ok(document: Any) -> HttpResponse:
    return HttpResponse(200, {}, json.dumps(document).encode())


def found(fetch: FakeFetch, seen: Recorder | None = None, clock: FrozenClock | None = None) -> DiscoveredKeys:
    return DiscoveredKeys("acme", ISSUER, fetch, clock or FrozenClock(), seen or Recorder())


async def ask(keys: DiscoveredKeys) -> HttpResponse:
    return await keys(HttpRequest("GET", keys.url))


@pytest.mark.parametrize("issuer", ["https://id.example", "https://id.example/"])
def test_one_slash_at_the_end_of_an_issuer_does_not_count(issuer: str) -> None:
    assert discovery_url(issuer) == "https://id.example/.well-known/openid-configuration"


async def test_the_keys_are_found_and_the_document_is_asked_for_once_a_day(world: World) -> None:
    issuer = world.idp.issuers.generic
    door = a_door(world, "generic")
    for _ in range(3):
        assert await door.admit(issuer.access_token("ann", jti=str(world.clock.now())))
        world.clock.advance(7200)
    assert world.idp.calls.count("generic", "discovery") == 1
    world.clock.advance(86_400)
    assert await door.admit(issuer.access_token("ann"))
    assert world.idp.calls.count("generic", "discovery") == 2


async def test_pinned_keys_win_and_no_document_is_asked_for(world: World) -> None:
    issuer = world.idp.issuers.generic
    issuer.document["jwks_uri"] = issuer.issuer + "/elsewhere"
    door = a_door(world, "generic", jwks_uri=issuer.keys_url)
    assert await door.admit(issuer.access_token("ann"))
    assert world.idp.calls.count("generic", "discovery") == 0


@pytest.mark.parametrize("issuer", ["https://evil.example", "", None, 7, OMIT, "slash"])
async def test_a_document_of_another_issuer_is_not_believed_and_the_operator_hears_of_it_once(
    world: World, issuer: Any
) -> None:
    generic = world.idp.issuers.generic
    generic.document["issuer"] = f"{generic.issuer}/" if issuer == "slash" else issuer
    door = a_door(world, "generic")
    for _ in range(3):
        assert await door.verdict(generic.access_token("ann")) == (503, "keys_unavailable")
        world.clock.advance(20)
    assert world.idp.calls.count("generic", "jwks") == 0
    assert [event.part for event in world.seen.of(Misconfigured)] == ["generic"]
    assert {event.kind for event in world.seen.of(KeysRefreshFailed)} == {"discovery"}
    generic.document.clear()
    assert await door.admit(generic.access_token("ann"))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/keys",
        "http://id.example/keys",
        "https://id.example.evil.example/keys",
        "https://id.example@evil.example/keys",
        "https://id.example:8443/keys",
        "https://evil.example\\@id.example/keys",
        "file:///etc/passwd",
        "//id.example/keys",
        "http://169.254.169.254/keys",
        "https://[id.example/keys",
        "",
        None,
        7,
    ],
)
async def test_a_document_sends_us_to_no_other_host(url: Any) -> None:
    fetch, seen = FakeFetch({discovery_url(ISSUER): ok({"issuer": ISSUER, "jwks_uri": url})}), Recorder()
    with pytest.raises(FetchFailed, match="discovery"):
        await ask(found(fetch, seen))
    assert [request.url for request in fetch.requests] == [discovery_url(ISSUER)]
    assert len(seen.of(Misconfigured)) == 1


async def test_an_oauth_server_without_openid_is_asked_for_its_own_document() -> None:
    """RFC 8414 section 3: the well-known part stands before the issuer's path."""
    place = "https://id.example/.well-known/oauth-authorization-server/tenant1"
    fetch = FakeFetch(
        {
            discovery_url(ISSUER): HttpResponse(404, {}, b""),
            place: ok({"issuer": ISSUER, "jwks_uri": "https://id.example/keys"}),
            "https://id.example/keys": ok({"keys": []}),
        }
    )
    assert (await ask(found(fetch))).status == 200
    assert [request.url for request in fetch.requests][1:] == [place, "https://id.example/keys"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"issuer": 1, "issuer": 2}', b"\xff"])
async def test_a_document_that_is_none_is_an_outage(body: bytes) -> None:
    fetch = FakeFetch({discovery_url(ISSUER): HttpResponse(200, {}, body)})
    with pytest.raises(FetchFailed, match="discovery"):
        await ask(found(fetch))


async def test_the_document_is_asked_for_anew_after_its_keys_could_not_be_had() -> None:
    fetch = FakeFetch({discovery_url(ISSUER): ok({"issuer": ISSUER, "jwks_uri": "https://id.example/old"})})
    keys = found(fetch)
    with pytest.raises(FetchFailed, match="connect"):
        await ask(keys)
    fetch.answer[discovery_url(ISSUER)] = ok({"issuer": ISSUER, "jwks_uri": "https://id.example/new"})
    fetch.answer["https://id.example/new"] = ok({"keys": []})
    assert (await ask(keys)).status == 200


@pytest.mark.parametrize("fault", [error(), rate_limited(30), redirect()])
async def test_a_document_that_cannot_be_had_is_a_503_and_then_recovers(world: World, fault: Any) -> None:
    generic = world.idp.issuers.generic
    door = a_door(world, "generic")
    with world.idp.faults.during("generic", fault, endpoint="discovery"):
        assert await door.verdict(generic.access_token("ann")) == (503, "keys_unavailable")
    assert world.idp.calls.count("devidp", "redirected") == 0
    world.clock.advance(60)
    assert await door.admit(generic.access_token("ann"))
