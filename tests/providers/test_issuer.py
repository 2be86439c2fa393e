"""The general provider of MCP_HTTP_OIDC_PROVIDERS: what an entry may say, and what its tokens then must."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import World

from tenantry.core.tenancy import organization_tenant_id
from tenantry.devidp import OMIT
from tenantry.errors import ConfigurationError
from tenantry.settings import Settings

pytestmark = pytest.mark.anyio
ENTRY: dict[str, Any] = {"name": "acme", "issuer": "https://id.acme.example", "audience": "https://mcp.example.com/mcp"}


@pytest.fixture
def token(world: World) -> Any:
    return world.idp.issuers.generic.access_token


async def test_the_user_the_tenant_and_the_permissions_are_the_token_s(world: World, token: Any) -> None:
    user = await a_door(world, "generic").admit(token("ann"))
    assert user.user_id == f"generic:{user.subject}"
    assert user.tenant_id == organization_tenant_id("generic", "acme.example")
    assert (user.permissions, user.roles, user.client_id) == ({"notes:read"}, {"editor"}, "devidp-client")
    assert (user.email, user.email_verified, user.name) == ("ann@acme.example", True, "Ann Archer")


# Kinds of tokens


@pytest.mark.parametrize("mark", ["nonce", "at_hash", "c_hash", "s_hash"])
async def test_an_id_token_is_no_access_token_even_with_our_audience(world: World, token: Any, mark: str) -> None:
    door = a_door(world, "generic")
    assert await door.verdict(token("ann", **{mark: "x"})) == (401, "token_kind_refused")
    assert await door.verdict(token("ann", typ_="JWT", **{mark: "x"})) == (401, "token_kind_refused")


@pytest.mark.parametrize("said", [{"typ": "ID"}, {"typ": "Refresh"}, {"typ": "Offline"}, {"token_use": "id"}])
async def test_a_payload_that_calls_itself_something_else_is_believed(world: World, token: Any, said: Any) -> None:
    assert await a_door(world, "generic").verdict(token("ann", typ_="JWT", **said)) == (401, "token_kind_refused")


async def test_where_only_id_tokens_are_accepted_an_access_token_is_refused(world: World, token: Any) -> None:
    issuer = world.idp.issuers.generic
    door = a_door(world, "generic", accept=["id_token"], audience=issuer.client_id, without=("claims",))
    user = await door.admit(issuer.id_token("ann"))
    assert user.client_id == issuer.client_id
    for access in (token("ann", aud=issuer.client_id), token("ann", aud=issuer.client_id, typ_="JWT")):
        assert await door.verdict(access) == (401, "token_kind_refused")


async def test_both_kinds_are_accepted_where_the_operator_says_both(world: World, token: Any) -> None:
    issuer = world.idp.issuers.generic
    audiences = [issuer.client_id, issuer.audience]
    door = a_door(world, "generic", accept=["id_token", "access_token"], audience=audiences)
    assert (await door.admit(token("ann"))).user_id == (await door.admit(issuer.id_token("ann"))).user_id


async def test_a_token_that_is_of_both_kinds_is_of_neither(world: World, token: Any) -> None:
    door = a_door(world, "generic", accept=["id_token", "access_token"])
    assert await door.verdict(token("ann", nonce="x")) == (401, "token_kind_refused")
    assert await door.verdict(token("ann", typ_="JWT", token_use="access", typ="ID")) == (401, "token_kind_refused")


# Clients


async def test_only_listed_clients_are_let_in_under_whichever_name_the_token_has_them(world: World, token: Any) -> None:
    door = a_door(world, "generic", clients=["ours"])
    for name in ("azp", "client_id", "appid", "cid"):
        assert await door.admit(token("ann", **{"client_id": OMIT, name: "ours"}))
    others = ({"client_id": "theirs"}, {"client_id": OMIT}, {"client_id": ["ours"]}, {"client_id": "ours", "azp": "x"})
    for claims in others:
        assert await door.verdict(token("ann", **claims)) == (401, "client_mismatch"), claims


# Claims by name


async def test_claims_are_found_where_the_operator_says(world: World, token: Any) -> None:
    space = "https://mcp.example/roles"
    claims = {"roles": space, "permissions": "authz.grants", "subject": "ids.global", "name": ["a.b", "n"]}
    door = a_door(world, "generic", claims=claims)
    said = {space: ["admin"], "authz": {"grants": ["x:y"]}, "ids": {"global": "g1"}, "a.b": {"n": "Ann"}}
    user = await door.admit(token("ann", **said))
    assert (user.roles, user.permissions, user.user_id, user.name) == ({"admin"}, {"x:y"}, "generic:g1", "Ann")


async def test_the_elements_of_a_list_have_no_names(world: World, token: Any) -> None:
    door = a_door(world, "generic", claims={"subject": "ids.0"})
    assert await door.verdict(token("ann", ids=["somebody"])) == (401, "subject_invalid")


@pytest.mark.parametrize("subject", ["", 7, None, ["x"], "a\nb", "x" * 256, OMIT])
async def test_a_subject_that_can_name_nobody_is_refused(world: World, token: Any, subject: Any) -> None:
    assert await a_door(world, "generic").verdict(token("ann", sub=subject)) == (401, "subject_invalid")


async def test_a_subject_with_a_colon_cannot_pass_for_two_names(world: World, token: Any) -> None:
    assert (await a_door(world, "generic").admit(token("ann", sub="a:b"))).user_id == "generic:a%3Ab"


async def test_two_issuers_with_the_same_subject_have_two_users(world: World, token: Any) -> None:
    issuers = world.idp.issuers
    door = world.door(only=[], oidc_providers=issuers.entries("generic", "keycloak"))
    one = await door.admit(token("ann", sub="1"))
    two = await door.admit(issuers.keycloak.access_token("ann", sub="1"))
    assert one.user_id == "generic:1"
    assert two.user_id == "keycloak:1"
    assert one.tenant_id != two.tenant_id


# Tenants


async def test_without_a_tenant_claim_everybody_has_a_tenant_of_his_own(world: World, token: Any) -> None:
    door = a_door(world, "generic", without=("claims",))
    ann, bob = [(await door.admit(token(who))).tenant_id for who in ("ann", "bob")]
    assert ann.startswith("u___")
    assert ann != bob


async def test_an_entry_of_one_company_puts_all_its_people_into_one_tenant(world: World, token: Any) -> None:
    mapping = {"tenant_mapping": {"generic:acme": "acme"}}
    door = a_door(world, "generic", without=("claims",), organization="acme", settings=mapping)
    assert {(await door.admit(token(who))).tenant_id for who in ("ann", "bob", "erin")} == {"acme"}


async def test_a_mapping_of_one_provider_is_not_honoured_for_another(world: World) -> None:
    issuers = world.idp.issuers
    entries = [
        {"name": name, "issuer": issuer.issuer, "jwks_uri": issuer.keys_url, "audience": issuer.audience}
        | {"claims": {"tenant": "company"}}
        for name, issuer in (("one", issuers.generic), ("two", issuers.keycloak))
    ]
    door = world.door(only=[], oidc_providers=entries, tenant_mapping={"one:7": "acme"})
    assert (await door.admit(issuers.generic.access_token("ann", company="7"))).tenant_id == "acme"
    other = await door.admit(issuers.keycloak.access_token("ann", company="7"))
    assert other.tenant_id == organization_tenant_id("two", "7")


async def test_listed_tenants_are_obligatory(world: World, token: Any) -> None:
    door = a_door(world, "generic", tenants=["acme.example"])
    assert await door.admit(token("ann"))
    for claims in ({"org": {"id": "globex.example"}}, {"org": OMIT}, {"org": {}}):
        assert await door.verdict(token("ann", **claims)) == (401, "organization_missing")


@pytest.mark.parametrize("org", [["acme.example"], 7, {"x": 1}, "", "a\nb"])
async def test_a_tenant_that_cannot_be_read_is_refused_rather_than_ignored(world: World, token: Any, org: Any) -> None:
    assert await a_door(world, "generic").verdict(token("ann", org={"id": org})) == (401, "claims_malformed")


async def test_an_address_makes_no_tenant_unless_the_operator_insists(world: World, token: Any) -> None:
    plain = a_door(world, "generic", without=("claims",))
    assert (await plain.admit(token("ann"))).tenant_id.startswith("u___")
    insists = a_door(world, "generic", without=("claims",), tenant_from_email=True)
    assert (await insists.admit(token("ann"))).tenant_id == "acme_example"
    for claims in ({"email_verified": "true"}, {"email_verified": 1}, {"email_verified": OMIT}, {"email": "a@b@c.d"}):
        assert (await insists.admit(token("ann", **claims))).tenant_id.startswith("u___"), claims


# What an operator may write


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": None}, "give issuer"),
        ({"issuers": ["https://a.example"]}, "give issuer"),
        ({"audience": []}, "member 'audience': is empty"),
        ({"audience": ""}, "member 'audience': is empty"),
        ({"audience": [""]}, "member 'audience': is empty"),
        ({"audience": None}, "member 'audience': is not a text"),
        ({"algorithms": []}, "member 'algorithms': is empty"),
        ({"algorithms": ["HS256"]}, "member 'algorithms': holds another algorithm"),
        ({"algorithms": ["none"]}, "member 'algorithms': holds another algorithm"),
        ({"accept": []}, "member 'accept': is empty"),
        ({"accept": ["refresh_token"]}, "member 'accept.0'"),
        ({"clients": []}, "member 'clients': is empty"),
        ({"tenants": []}, "member 'tenants': is empty"),
        ({"tenants": ["x"]}, "tenants needs claims.tenant"),
        ({"organization": "x", "claims": {"tenant": "org"}}, "organization is one for everybody"),
        ({"organization": " "}, "member 'organization': is empty"),
        ({"claims": {"tennant": "org"}}, "member 'claims.tennant': there is no such member"),
        ({"claims": {"roles": "a..b"}}, "member 'claims.roles': is empty"),
        ({"isuer": "x"}, "member 'isuer': there is no such member"),
        ({"preset": "octa"}, "member 'preset': there are entra, okta"),
        ({"name": "Acme"}, "member 'name': is not of the form"),
        ({"name": "a:b"}, "member 'name': is not of the form"),
        ({"name": "google"}, "member 'name': is the name of a provider that is built in"),
        ({"name": "apikey"}, "member 'name': is the name of a provider that is built in"),
        ({"discovery": False}, "jwks_uri is missing"),
        ({"discovery": True, "jwks_uri": "https://id.acme.example/keys"}, "remove one of them"),
        ({"issuer": "http://id.acme.example"}, "member 'issuer': it must be https"),
        ({"issuer": "http://127.0.0.1:9"}, "member 'issuer': it must be https"),
        ({"issuer": "https://id.acme.example?x=1"}, "member 'issuer': it is not an address"),
        ({"issuer": "https://user@id.acme.example"}, "member 'issuer': it is not an address"),
        ({"issuer": "file:///etc/passwd"}, "member 'issuer': it is not an address"),
        ({"jwks_uri": "http://id.acme.example/keys"}, "member 'jwks_uri': it must be https"),
        ({"jwks_uri_fallback": "ftp://id.acme.example/keys"}, "member 'jwks_uri_fallback': it must be https"),
        ({"issuer": "https://accounts.google.com"}, "is the issuer of 'google' already"),
        ({"issuer": "https://login.microsoftonline.com/x/v2.0"}, '"preset": "entra"'),
        ({"issuer": "https://acme.okta.com/oauth2/default"}, '"preset": "okta"'),
        ({"issuer": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A"}, '"preset": "cognito"'),
        ({"issuer": "https://token.actions.githubusercontent.com"}, "for everybody's workflows"),
    ],
)
def test_an_entry_that_is_wrong_is_refused_with_its_name_and_the_member(changes: dict[str, Any], said: str) -> None:
    message = refused({**ENTRY, **changes})
    assert message.startswith("MCP_HTTP_OIDC_PROVIDERS: entry ")
    assert said in message


def test_several_spellings_of_an_issuer_need_its_keys_pinned() -> None:
    two = {"name": "acme", "issuers": ["https://a.example", "https://b.example"], "audience": "x"}
    assert "jwks_uri is missing" in refused(two)
    assert Settings(public_url="https://m.example/mcp", oidc_providers=[{**two, "jwks_uri": "https://a.example/k"}])


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "is an empty list"),
        ({}, "is not a JSON list"),
        ([7], "entry 1 is not a JSON object"),
        ([ENTRY, {**ENTRY, "issuer": "https://b.example"}], "member 'name': two entries have it"),
        ([ENTRY, {**ENTRY, "name": "other"}], "is the issuer of 'acme' already"),
        ([{**ENTRY, "issuer": "https://acme.auth0.com/"}], "is the issuer of 'auth0' already"),
    ],
)
def test_a_list_that_is_wrong_is_refused(entries: Any, said: str) -> None:
    others = {"auth0_domain": "acme.auth0.com", "auth0_audience": "x"}
    with pytest.raises(ConfigurationError, match="MCP_HTTP_OIDC_PROVIDERS") as caught:
        Settings(public_url="https://mcp.example.com/mcp", oidc_providers=entries, **others)
    assert said in str(caught.value)


def test_text_that_is_not_json_is_refused_without_being_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_HTTP_OIDC_PROVIDERS", "{hush")
    with pytest.raises(ConfigurationError, match="MCP_HTTP_OIDC_PROVIDERS: is not a JSON list") as caught:
        Settings()
    assert "hush" not in str(caught.value)


def test_a_public_url_is_needed_as_with_every_provider_of_people() -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_PUBLIC_URL"):
        Settings(oidc_providers=[ENTRY])


def test_only_names_that_are_configured_may_stand_in_the_mapping() -> None:
    settings = {"public_url": "https://mcp.example.com/mcp", "oidc_providers": [ENTRY]}
    assert Settings(**settings, tenant_mapping={"acme:7": "seven"})
    for key in ("acne:7", "acme:", "acme:a b"):
        with pytest.raises(ConfigurationError, match="MCP_HTTP_TENANT_MAPPING"):
            Settings(**settings, tenant_mapping={key: "seven"})


async def test_a_change_of_an_entry_forgets_what_was_proved_before(world: World, token: Any) -> None:
    one, two = (world.assembly(only=[], oidc_providers=[{**_entry(world), "clients": ids}]) for ids in (["a"], ["b"]))
    assert one.verdicts._seed.digest() != two.verdicts._seed.digest()


def test_the_entries_stand_in_a_toml_file_too(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tenantry.toml"
    path.write_text(
        'public_url = "https://mcp.example.com/mcp"\n[[oidc_providers]]\nname = "acme"\n'
        'issuer = "https://id.acme.example"\naudience = "https://mcp.example.com/mcp"\n'
    )
    monkeypatch.setenv("MCP_HTTP_CONFIG_FILE", str(path))
    (entry,) = Settings().oidc_providers or ()
    assert entry.name == "acme"


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("oidc", monkeypatch).oidc_providers or ()
    assert entry.issuer_settings(30).audiences == {"https://mcp.example.com/mcp"}


def _entry(world: World) -> dict[str, Any]:
    return world.idp.issuers.generic.entry()
