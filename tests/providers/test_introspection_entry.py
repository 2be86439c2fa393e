"""How introspection finds a server and shows who it is there, and what an entry of
MCP_HTTP_INTROSPECTION_PROVIDERS must say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.support import World, together

from tenantry.devidp import OMIT
from tenantry.devidp.faults import error, status
from tenantry.devidp.introspection import SERVER_ID, SERVER_SECRET, Introspection
from tenantry.errors import ConfigurationError
from tenantry.observations import Misconfigured
from tenantry.settings import Settings

from .issuers import settings_of_page
from .test_introspection import a_door

pytestmark = pytest.mark.anyio
ENTRY = {
    "name": "acme",
    "introspection_endpoint": "https://as.example.com/introspect",
    "client_id": "tenantry",
    "client_secret": "a-made-up-secret-nobody-may-read",
    "audience": "https://mcp.example.com/mcp",
    "default": True,
}
NOWHERE = Path("/nonexistent/key.pem")


@pytest.fixture
def server(world: World) -> Introspection:
    return world.idp.introspection


# --- How we show who we are -------------------------------------------------------------------------------------------


async def test_by_default_both_halves_of_basic_are_form_urlencoded(world: World, server: Introspection) -> None:
    assert await a_door(world).admit(server.access_token("ann"))
    (call,) = world.idp.calls.of("introspection", "introspection")
    assert call.basic() == ("tenantry%3Adev", "devidp+introspection%2Bsecret%2F0123456789%25")
    assert set(call.form()) == {"token", "token_type_hint"}
    assert call.headers["accept"] == "application/json"


async def test_or_both_are_in_the_form(world: World, server: Introspection) -> None:
    assert await a_door(world, auth_method="client_secret_post").admit(server.access_token("ann"))
    (call,) = world.idp.calls.of("introspection", "introspection")
    assert call.authorization is None
    assert (call.form()["client_id"], call.form()["client_secret"]) == (SERVER_ID, SERVER_SECRET)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["RSA", "P-256", "P-384", "Ed25519"],
)
async def test_or_an_assertion_is_signed_anew_for_each_question(
    world: World, server: Introspection, tmp_path: Path, key: Any, algorithm: str
) -> None:
    pem, public = tmp_path / "key.pem", serialization.PublicFormat.SubjectPublicKeyInfo
    pem.write_bytes(private(key))
    server.clients.keys["signer"] = key.public_key().public_bytes(serialization.Encoding.PEM, public)
    door = a_door(world, without=("client_secret",), client_id="signer", private_key=str(pem), key_id="k1")
    for person in ("ann", "bob"):
        assert await door.admit(server.access_token(person))
    calls = world.idp.calls.of("introspection", "introspection")
    shown = [call.form()["client_assertion"] for call in calls]
    claims = [jwt.decode(one, options={"verify_signature": False}) for one in shown]
    assert [jwt.get_unverified_header(one)["alg"] for one in shown] == [algorithm] * 2
    assert [jwt.get_unverified_header(one)["kid"] for one in shown] == ["k1"] * 2
    assert claims[0]["jti"] != claims[1]["jti"]
    assert claims[0]["exp"] - claims[0]["iat"] == 60
    assert (claims[0]["iss"], claims[0]["sub"], claims[0]["aud"]) == ("signer", "signer", server.issuer)


def private(key: Any, password: bytes | None = None) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    hidden = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    return bytes(key.private_bytes(serialization.Encoding.PEM, form, hidden))


async def test_no_secret_and_no_token_is_in_what_is_logged_printed_or_answered(
    world: World, server: Introspection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    door = a_door(world)
    token = server.access_token("ann")
    provider = door.made.gate.providers["opaque"]
    await door.admit(token)
    with world.idp.faults.during("introspection", status(401)):
        refusal = await door.refuse(server.access_token("bob"))
    told = repr([provider, vars(provider), door.made.settings, world.seen.seen, refusal, vars(refusal), caplog.text])
    for secret in (SERVER_SECRET, token):
        assert secret not in told


# --- Discovery --------------------------------------------------------------------------------------------------------


async def test_without_an_endpoint_it_is_found_from_the_issuer_once(world: World, server: Introspection) -> None:
    door = a_door(world, without=("introspection_endpoint",))
    tokens = [server.access_token("ann") for _ in range(5)]
    answers = iter(tokens)
    seen = await together(5, lambda: door.admit(next(answers)))
    assert not [answer for answer in seen if isinstance(answer, BaseException)]
    assert world.idp.calls.count("introspection", "discovery") == 1


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"introspection_endpoint": "https://evil.example/introspect"},
        {"introspection_endpoint": "http://169.254.169.254/introspect"},
        {"introspection_endpoint": OMIT},
        {"introspection_endpoint": 7},
    ],
)
async def test_a_document_that_leads_elsewhere_is_not_followed(
    world: World, server: Introspection, document: dict[str, Any]
) -> None:
    server.document = document
    door = a_door(world, without=("introspection_endpoint",))
    token = server.access_token("ann")
    assert await door.verdict(token) == (503, "provider_misconfigured")
    assert world.idp.calls.shown(token) == set()
    assert len(world.seen.of(Misconfigured)) == 1
    server.document = {}
    assert await door.admit(token)


async def test_a_server_that_is_down_at_the_start_is_found_later(world: World, server: Introspection) -> None:
    door = a_door(world, without=("introspection_endpoint",))
    token = server.access_token("ann")
    with world.idp.faults.during("introspection", error(), endpoint="discovery"):
        door.made.start()
        assert (await door.refuse(token)).status == 503
    assert await door.admit(token)


async def test_a_document_serves_on_when_a_new_one_cannot_be_had(world: World, server: Introspection) -> None:
    door = a_door(world, without=("introspection_endpoint",))
    await door.admit(server.access_token("ann"))
    world.clock.advance(2 * 86_400)
    with world.idp.faults.during("introspection", error(), endpoint="discovery"):
        assert await door.admit(server.access_token("bob"))


async def test_an_endpoint_that_has_moved_is_found_anew(world: World, server: Introspection) -> None:
    door = a_door(world, without=("introspection_endpoint",))
    await door.admit(server.access_token("ann"))
    with world.idp.faults.during("introspection", status(404), endpoint="introspection"):
        assert (await door.refuse(server.access_token("bob"))).status == 503
    assert await door.admit(server.access_token("bob"))
    assert world.idp.calls.count("introspection", "discovery") == 2


# --- The entry --------------------------------------------------------------------------------------------------------


def refused(*entries: dict[str, Any], **settings: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings(public_url="https://mcp.example.com/mcp", introspection_providers=list(entries), **settings)
    words = str(caught.value)
    assert "a-made-up-secret" not in words
    return words


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"audience": None}, "give audience, or clients"),
        ({"audience": []}, "member 'audience': is empty"),
        ({"clients": []}, "member 'clients': is empty"),
        ({"introspection_endpoint": None}, "give introspection_endpoint, or issuer"),
        ({"introspection_endpoint": "http://as.example.com/i"}, "must be https"),
        ({"introspection_endpoint": "https://user:pw@as.example.com/i"}, "not an address"),
        ({"issuer": "https://as.example.com?x=1"}, "not an address"),
        ({"default": False}, "no token would ever be asked about"),
        ({"prefixes": []}, "member 'prefixes': is empty"),
        ({"prefixes": ["ab"]}, "3 to 64 characters"),
        ({"prefixes": ["eyJ"]}, "how signed tokens begin"),
        ({"prefixes": ["gho_"]}, "somebody else's credentials"),
        ({"prefixes": ["mcpk_live"]}, "somebody else's credentials"),
        ({"prefixes": ["sk-live"]}, "somebody else's credentials"),
        ({"prefixes": ["one_", "one_two_"]}, "one begins with the other"),
        ({"jwt": True}, "jwt needs issuer"),
        ({"client_secret": None}, "give client_secret or private_key"),
        ({"client_secret": "  "}, "client_secret is empty"),
        ({"private_key": "key.pem"}, "one of them"),
        ({"auth_method": "private_key_jwt"}, "does not go with"),
        ({"auth_method": "none"}, "member 'auth_method'"),
        ({"key_id": "k1"}, "key_id is the name of private_key"),
        ({"client_secret": None, "private_key": str(NOWHERE)}, "cannot be read"),
        ({"name": "google"}, "built in"),
        ({"name": "Acme"}, "[a-z]"),
        ({"tenants": ["a"]}, "tenants needs claims.tenant"),
        ({"organization": "a", "claims": {"tenant": "org"}}, "organization is one for everybody"),
        ({"surprise": 1}, "there is no such member"),
        ({"default": {"a": 1}}, "member 'default'"),
    ],
)
def test_an_entry_that_is_wrong_is_refused_without_its_secret(changes: dict[str, Any], said: str) -> None:
    words = refused({**ENTRY, **changes})
    assert said in words
    assert "MCP_HTTP_INTROSPECTION_PROVIDERS" in words


def test_entries_that_get_in_each_others_way_are_refused() -> None:
    second = {**ENTRY, "name": "second"}
    assert "'acme' is the default already" in refused(ENTRY, second)
    assert "has it" in refused(ENTRY, ENTRY)
    prefixed = [{**entry, "default": False, "prefixes": ["acme_"]} for entry in (ENTRY, second)]
    assert "'acme_' is a prefix of 'acme' already" in refused(*prefixed)
    overlapping = {**second, "default": False, "prefixes": ["acme_at_"]}
    assert "one begins with the other" in refused({**ENTRY, "prefixes": ["acme_"]}, overlapping)
    assert refused() == "MCP_HTTP_INTROSPECTION_PROVIDERS: is an empty list: name a provider, or unset it."


def test_the_jwts_of_one_issuer_belong_to_one_entry() -> None:
    issuer = "https://as.example.com"
    signed = {"name": "signed", "issuer": issuer, "audience": "https://mcp.example.com/mcp"}
    words = refused({**ENTRY, "issuer": issuer, "jwt": True}, oidc_providers=[signed])
    assert "are those of 'signed' already" in words
    assert "has it" in refused({**ENTRY, "name": "signed"}, oidc_providers=[signed])
    both = {**ENTRY, "issuer": issuer}
    assert Settings(public_url="https://mcp.example.com/mcp", oidc_providers=[signed], introspection_providers=[both])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: b"not a key of mine", "is not a private key in PEM"),
        (lambda: private(rsa.generate_private_key(65537, 1024)), "is none of RSA"),
        (lambda: private(ec.generate_private_key(ec.SECP256K1())), "is none of RSA"),
        (lambda: private(ec.generate_private_key(ec.SECP256R1()), b"a passphrase"), "is encrypted"),
    ],
)
def test_a_private_key_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path, made: Any, said: str) -> None:
    pem = tmp_path / "key.pem"
    pem.write_bytes(made())
    words = refused({**ENTRY, "client_secret": None, "private_key": str(pem)})
    assert said in words
    assert "of mine" not in words


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("introspection", monkeypatch).introspection_providers or ()
    made = entry.provider_settings(30)
    assert (made.name, made.prefixes, made.client.method) == ("acme", ("acme_at_",), "client_secret_basic")
