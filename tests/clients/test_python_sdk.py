"""The official Python client, which knows nothing but the server's URL, signs in at the development identity provider
and calls tools. https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization"""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from mcp import MCPError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from tests.clients.headless import Memory, Signed
from tests.clients.servers import HOSTS, Site, a_site, a_site_out_of_time
from tests.devidp.relying import claims

pytestmark = pytest.mark.anyio

MODES = ["2026-07-28", "legacy"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("host", HOSTS)
async def test_a_client_gets_from_the_first_401_to_a_tool_call(host: str, mode: str) -> None:
    async with a_site(host) as site:
        signed = Signed(site.url, "ann")
        async with signed.client(mode) as client:
            answer = await client.call_tool("whoami")
        first = signed.seen[0]
        assert first.status_code == 401
        assert first.headers["www-authenticate"] == (
            f'Bearer resource_metadata="{site.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")}"'
        )
        assert [str(seen.url).partition("?")[0] for seen in signed.seen[1:5]] == [
            site.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp"),
            f"{site.idp.base_url}/.well-known/oauth-authorization-server",
            f"{site.idp.base_url}/oidc/register",
            f"{site.idp.base_url}/oauth/token",
        ]
        assert len(signed.browser.asked) == 1
        assert signed.browser.asked[0]["resource"] == site.url
        assert signed.memory.tokens
        assert site.url in claims(signed.memory.tokens.access_token)["aud"]
        who = answer.structured_content
        assert who["user"] == site.user_id("ann")
        assert who["client"] == signed.memory.client.client_id
        assert who["tenant"] == await tenant_of(site, "bob") != await tenant_of(site, "erin")


async def tenant_of(site: Site, person: str) -> str:
    async with Signed(site.url, person).client() as client:
        return (await client.call_tool("whoami")).structured_content["tenant"]


async def test_two_who_sign_in_to_one_server_are_never_mixed_up() -> None:
    async with a_site() as site, Signed(site.url, "ann").client() as ann, Signed(site.url, "erin").client() as erin:
        calls = [client.call_tool("whoami") for _ in range(10) for client in (ann, erin)]
        seen = [answer.structured_content["user"] for answer in await asyncio.gather(*calls)]
        assert seen == [site.user_id("ann"), site.user_id("erin")] * 10


async def test_a_client_that_comes_back_does_not_sign_in_again() -> None:
    async with a_site() as site:
        signed = Signed(site.url, "ann")
        for _ in range(2):
            async with signed.client() as client:
                await client.call_tool("whoami")
        assert len(site.asked("authorize")) == len(site.asked("register")) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_refresh_in_the_middle_of_a_session_goes_unnoticed(mode: str) -> None:
    """The first token has no life at all: the client refreshes it before its next request."""
    async with a_site() as site:
        tokens = site.idp.auth0.authorization.tokens
        usual, tokens.lifetime = tokens.lifetime, 0
        signed = Signed(site.url, "ann")

        def from_now_on(response: httpx2.Response) -> None:
            if response.url.path == "/oauth/token":
                tokens.lifetime = usual

        signed.when_answered = from_now_on
        async with signed.client(mode) as client:
            answers = [await client.call_tool("whoami") for _ in range(3)]
        assert {answer.structured_content["user"] for answer in answers} == {site.user_id("ann")}
        assert [call.form()["grant_type"] for call in site.asked("token")] == ["authorization_code", "refresh_token"]
        assert len(site.asked("authorize")) == 1
        assert [seen.status_code for seen in signed.seen].count(401) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_token_that_has_expired_on_the_way_leads_to_a_new_one(mode: str) -> None:
    """The client believes its token to be good; the server's 401 says better, and the session goes on."""
    async with a_site_out_of_time() as (site, world):
        signed = Signed(site.url, "ann")
        async with signed.client(mode) as client:
            before = await client.call_tool("whoami")
            world.clock.advance(86_400 + 60)
            after = await client.call_tool("whoami")
        assert before.structured_content["user"] == after.structured_content["user"] == site.user_id("ann")
        challenges = [seen.headers["www-authenticate"] for seen in signed.seen if seen.status_code == 401]
        assert ['error="invalid_token"' in challenge for challenge in challenges] == [False, True]
        assert (len(site.asked("authorize")), len(site.asked("register"))) == (2, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("host", HOSTS)
async def test_a_tool_that_needs_more_makes_the_client_ask_for_more(host: str, mode: str) -> None:
    """MCP authorization, "Step-Up Authorization Flow": what was granted before is asked for again with the rest."""
    async with a_site(host) as site:
        signed = Signed(site.url, "ann")
        async with signed.client(mode) as client:
            await client.call_tool("whoami")
            answer = await client.call_tool("write_note", {"text": "hello"})
            again = await client.call_tool("write_note", {"text": "again"})
        assert answer.content[0].text == f"{site.user_id('ann')} wrote hello"
        assert not again.is_error
        (refusal,) = [seen for seen in signed.seen if seen.status_code == 403]
        assert 'error="insufficient_scope"' in refusal.headers["www-authenticate"]
        first, second = [set(asked["scope"].split()) for asked in signed.browser.asked]
        assert second == first | {"notes:write"}
        assert len(site.asked("register")) == 1


async def test_a_client_that_may_not_have_more_is_refused_and_does_not_ask_for_ever() -> None:
    async with a_site() as site:
        site.idp.auth0.authorization.rbac = True
        signed = Signed(site.url, "bob")
        async with signed.client() as client:
            await client.call_tool("whoami")
            with pytest.raises(MCPError):
                await client.call_tool("write_note", {"text": "hello"})
            answer = await client.call_tool("whoami")
        assert answer.structured_content["user"] == site.user_id("bob")
        assert len(signed.browser.asked) == 2


async def test_the_scopes_that_a_server_asks_for_are_those_that_the_client_asks_for() -> None:
    async with a_site(default_permissions="notes:read") as site:
        signed = Signed(site.url, "ann")
        async with signed.client() as client:
            await client.call_tool("whoami")
        assert signed.seen[0].headers["www-authenticate"].endswith(', scope="notes:read"')
        assert signed.browser.asked[0]["scope"].split() == ["notes:read", "offline_access"]


async def test_a_service_signs_in_with_credentials_of_its_own() -> None:
    """RFC 6749 section 4.4, by the SDK's provider for it: nobody is at a browser."""
    async with a_site() as site:
        auth0 = site.idp.auth0
        auth = ClientCredentialsOAuthProvider(
            site.url, Memory(), auth0.client_id, auth0.client_secret, issuer=auth0.issuer
        )
        async with Signed(site.url, "ann").client(auth=auth) as client:
            answer = await client.call_tool("whoami")
        assert answer.structured_content["user"] == f"auth0:{auth0.client_id}@clients"
        assert site.asked("authorize") == []


async def test_an_identity_provider_that_is_down_costs_nobody_the_sign_in() -> None:
    """A 401 would make the client throw its token away; 503 does not."""
    async with a_site() as site:
        signed = Signed(site.url, "ann")
        async with signed.client() as client:
            site.idp.faults.set("auth0", "error", endpoint="jwks")
            with pytest.raises(MCPError):
                await client.call_tool("whoami")


@pytest.mark.parametrize("kind", ["a token for another server", "an ID token", "an opaque token"])
async def test_what_a_client_may_have_besides_opens_nothing(kind: str) -> None:
    """RFC 8707 and MCP authorization, "Token Audience Binding": good credentials, and none of them for this server."""
    async with a_site() as site, httpx2.AsyncClient(trust_env=False) as http:
        signed = Signed(site.url, "ann")
        async with signed.client() as client:
            await client.call_tool("whoami")
        auth0 = site.idp.auth0
        tokens = {
            "a token for another server": auth0.access_token("ann", audience=f"{site.url}/other"),
            "an ID token": auth0.id_token("ann", client_id=signed.memory.client.client_id, nonce="n"),
            "an opaque token": auth0.opaque_token("ann"),
        }
        answer = await http.post(site.url, headers={"Authorization": f"Bearer {tokens[kind]}"}, json={})
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
