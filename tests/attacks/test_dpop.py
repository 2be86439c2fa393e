"""Sender-constrained tokens through the whole middleware: who shows one proves with every request to hold its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.dpop import Holder, hmac_proof
from tests.support import Reply, World, a_scope, a_world, ask

from tenantry.core.nonces import LIFETIME, RENEWED_AFTER, Nonces
from tenantry.devidp import OMIT
from tenantry.errors import ConfigurationError, OverQuota, ProofInvalid, Unavailable
from tenantry.model import Credential
from tenantry.replays import Replays
from tenantry.testing import NOW
from tenantry.verdicts import VerdictCache

pytestmark = pytest.mark.anyio

URL = "https://mcp.example.com/mcp"
HOST = ("host", "mcp.example.com")
KEY = "a-development-key"
NONCE_KEY = "the-key-of-nonces-0123456789-abcdefgh"


class Server:
    """A guarded app, and who talks to it. Everything is for the resource at ``URL``."""

    def __init__(self, world: World, **settings: Any) -> None:
        self.world, self.callers = world, []
        self.guarded = world.guard(self._app, only=("auth0", "google"), **(settings_of() | settings))
        self.ann = Holder(world.clock.now, url=URL)

    def token(self, holder: Holder | None = None, person: str = "ann", **claims: Any) -> str:
        """A token of Auth0 that is bound to ``holder``'s key (Ann's), unless ``cnf`` says otherwise."""
        bound = {"cnf": {"jkt": (holder or self.ann).thumbprint}}
        return self.world.idp.auth0.access_token(person, audience=URL, **(bound | claims))

    async def ask(self, token: str, proof: str | None = None, *more: tuple[str, str], **how: Any) -> Reply:
        """One request under the scheme DPoP; without ``proof`` with an honest one of Ann's."""
        return await self.send([*self.ann.headers(token, proof), *more], **how)

    async def send(self, headers: list[tuple[str, str]], **how: Any) -> Reply:
        if not any(name == "host" for name, _ in headers):
            headers = [HOST, *headers]
        return await ask(self.guarded, headers=headers, **how)

    async def refused(self, token: str, proof: str | None = None, **how: Any) -> str:
        """The reason of a refusal with 401 and a challenge of each scheme; nobody has reached the app."""
        before = len(self.callers)
        return refused(await self.ask(token, proof, **how)) if len(self.callers) == before else "admitted"

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.callers.append(scope["state"]["user"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


def settings_of() -> dict[str, Any]:
    return {"public_url": URL, "auth0_audience": URL, "auth0_dpop": "accept", "api_key": KEY}


def challenges(reply: Reply) -> list[str]:
    pairs = reply.messages[0]["headers"]
    return [value.decode() for name, value in pairs if name == b"www-authenticate"]


def header(reply: Reply, name: str) -> str | None:
    return next((value.decode() for key, value in reply.messages[0]["headers"] if key == name.encode()), None)


def refused(reply: Reply) -> str:
    assert reply.status == 401
    bearer, dpop = challenges(reply)
    assert bearer.startswith("Bearer resource_metadata=")
    assert dpop.startswith("DPoP ")
    body = json.loads(reply.body)
    assert f'error="{body["error"]}"' in dpop
    return str(body["reason"])


@pytest.fixture
async def server() -> Any:
    async with a_world() as world:
        yield Server(world)


@pytest.fixture
async def serve() -> Any:
    async with a_world() as world:

        def make(**settings: Any) -> Server:
            return Server(world, **settings)

        yield make


Serve = Callable[..., Server]


# --- The good cases ---------------------------------------------------------------------------------------------------


async def test_who_proves_to_hold_the_key_is_let_in_with_a_new_proof_each_time(server: Server) -> None:
    token = server.token()
    for _ in range(3):
        assert (await server.ask(token)).status == 200
    assert [caller.provider for caller in server.callers] == ["auth0"] * 3
    assert server.callers[0].bound_to == server.ann.thumbprint
    assert server.world.idp.calls.count("auth0", "jwks") == 1


@pytest.mark.parametrize("algorithm", ["ES384", "EdDSA", "PS256", "RS256"])
async def test_a_key_of_any_advertised_kind_will_do(server: Server, algorithm: str) -> None:
    other = Holder(server.world.clock.now, algorithm=algorithm, url=URL)
    assert (await server.send(other.headers(server.token(other)))).status == 200


@pytest.mark.parametrize("scheme", ["DPoP", "dpop", "DPOP"])
async def test_the_scheme_is_read_in_any_case(server: Server, scheme: str) -> None:
    token = server.token()
    reply = await server.send([("authorization", f"{scheme} {token}"), ("dpop", server.ann.proof(token))])
    assert reply.status == 200


async def test_bearers_and_keys_go_on_where_bound_tokens_are_taken_too(server: Server) -> None:
    for credential in (server.token(cnf=OMIT), KEY, server.world.idp.google.id_token("ann")):
        assert (await server.send([("authorization", f"Bearer {credential}")])).status == 200
    assert {caller.bound_to for caller in server.callers} == {None}


async def test_a_proof_beside_a_plain_bearer_token_changes_nothing(server: Server) -> None:
    token = server.token(cnf=OMIT)
    headers = [("authorization", f"Bearer {token}"), ("dpop", "junk")]
    assert (await server.send(headers)).status == 200


@pytest.mark.parametrize("mode", ["accept", "require"])
async def test_an_entry_of_any_issuer_can_have_it(serve: Serve, mode: str) -> None:
    world = serve().world
    entry = {"name": "acme", "issuer": world.idp.auth0.issuer, "audience": URL, "dpop": mode}
    server = Server(world, auth0_dpop="off", auth0_domain=None, auth0_audience=None, oidc_providers=[entry])
    assert (await server.ask(server.token())).status == 200
    bearer = await server.send([("authorization", f"Bearer {server.token(cnf=OMIT)}")])
    assert bearer.status == (200 if mode == "accept" else 401)
    assert refused(await server.send([("authorization", f"Bearer {server.token()}")])) == "sender_constrained"
    assert {caller.provider for caller in server.callers} == {"acme"}


# --- The scheme and the token must go together ------------------------------------------------------------------------


async def test_a_bound_token_under_bearer_is_refused_with_and_without_a_proof(server: Server) -> None:
    token = server.token()
    for more in ([], [("dpop", server.ann.proof(token))]):
        assert refused(await server.send([("authorization", f"Bearer {token}"), *more])) == "sender_constrained"


async def test_a_verdict_that_is_remembered_never_lets_it_through_under_the_other_scheme(server: Server) -> None:
    token = server.token()
    for _ in range(2):
        assert (await server.ask(token)).status == 200
        assert refused(await server.send([("authorization", f"Bearer {token}")])) == "sender_constrained"


async def test_a_token_has_a_verdict_of_its_own_under_each_scheme(server: Server) -> None:
    verdicts = VerdictCache(server.world.clock, b"1", ttl=60, size=10)
    one, other = (Credential(b"token", source) for source in ("bearer", "dpop"))
    assert verdicts.key(one, None) != verdicts.key(other, None)
    assert verdicts.key(one, "auth0") != verdicts.key(other, "auth0")


async def test_an_unbound_token_under_dpop_is_refused_though_it_is_known_under_bearer(server: Server) -> None:
    token = server.token(cnf=OMIT)
    assert (await server.send([("authorization", f"Bearer {token}")])).status == 200
    for _ in range(2):
        assert await server.refused(token) == "token_unbound"
    assert len(server.callers) == 1


@pytest.mark.parametrize("confirmation", [{"x5t#S256": "x" * 43}, {"jkt": "x"}, {}, None])
async def test_a_token_bound_to_something_else_is_refused_under_either_scheme(
    server: Server, confirmation: Any
) -> None:
    token = server.token(cnf=confirmation)
    assert await server.refused(token) == "sender_constrained"
    assert refused(await server.send([("authorization", f"Bearer {token}")])) == "sender_constrained"


async def test_a_missing_proof_is_refused(server: Server) -> None:
    reply = await server.send([("authorization", f"DPoP {server.token()}")])
    assert refused(reply) == "proof_missing"


async def test_where_only_bound_tokens_are_taken_a_bearer_is_refused_hit_or_miss(serve: Serve) -> None:
    server = serve(auth0_dpop="require")
    token = server.token(cnf=OMIT)
    for _ in range(2):
        assert refused(await server.send([("authorization", f"Bearer {token}")])) == "token_unbound"
    assert (await server.ask(server.token())).status == 200
    assert (await server.send([("authorization", f"Bearer {KEY}")])).status == 200


async def test_the_scheme_is_refused_for_a_provider_without_it(server: Server) -> None:
    for credential in (server.world.idp.google.id_token("ann"), KEY):
        assert await server.refused(credential) == "scheme_unsupported"
    assert server.world.idp.calls.count("google") == 0


async def test_where_it_is_off_the_scheme_is_unknown_and_a_bound_token_is_nothing(serve: Serve) -> None:
    server = serve(auth0_dpop="off")
    token = server.token()
    for headers, reason in (
        (server.ann.headers(token), "scheme_unsupported"),
        (server.ann.headers("junk"), "scheme_unsupported"),
        ([("authorization", f"Bearer {token}")], "sender_constrained"),
    ):
        reply = await server.send(headers)
        (challenge,) = challenges(reply)
        assert (reply.status, json.loads(reply.body)["reason"]) == (401, reason)
        assert challenge.startswith("Bearer ")
    assert server.callers == []


# --- The proof must be of this request, this token, this key, this moment ---------------------------------------------


async def test_a_proof_for_another_method_is_refused(server: Server) -> None:
    token = server.token()
    assert await server.refused(token, server.ann.proof(token, method="GET")) == "proof_of_another_request"
    assert await server.refused(token, server.ann.proof(token), method="GET") == "proof_of_another_request"


@pytest.mark.parametrize(
    "url", [f"{URL}/other", "https://evil.example/mcp", f"{URL}?x=1", "http://mcp.example.com/mcp"]
)
async def test_a_proof_for_another_address_is_refused(server: Server, url: str) -> None:
    token = server.token()
    assert await server.refused(token, server.ann.proof(token, htu=url)) == "proof_of_another_request"


async def test_the_query_of_a_request_is_no_part_of_its_address(server: Server) -> None:
    assert (await server.ask(server.token(), query_string=b"session=1")).status == 200


async def test_a_proof_made_for_another_server_is_refused_behind_a_host_header_that_lies(serve: Serve) -> None:
    """Somebody else's server relays what its caller sent, and names itself in every header that it can."""
    server = serve(allowed_hosts="evil.example")
    token = server.token()
    proof = server.ann.proof(token, htu="https://evil.example/mcp")
    more = [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("forwarded", "host=evil.example")]
    assert refused(await server.ask(token, proof, *more)) == "proof_of_another_request"


async def test_a_proof_of_another_token_is_refused(server: Server) -> None:
    token, other = server.token(), server.token(scope="notes:read")
    assert await server.refused(token, server.ann.proof(other)) == "proof_of_another_token"


async def test_the_key_of_a_thief_proves_nothing(server: Server) -> None:
    token, thief = server.token(), Holder(server.world.clock.now, number=1, url=URL)
    reply = await server.ask(token, thief.proof(token))
    assert refused(reply) == "proof_key_mismatch"
    assert 'DPoP error="invalid_token"' in challenges(reply)[1]
    assert await server.refused(token, thief.proof(token, header={"jwk": server.ann.jwk})) == "proof_signature_invalid"


@pytest.mark.parametrize(("age", "reason"), [(60, "proof_stale"), (3600, "proof_stale"), (-61, "proof_not_yet_valid")])
async def test_a_proof_of_another_time_is_refused(server: Server, age: int, reason: str) -> None:
    token = server.token()
    assert await server.refused(token, server.ann.proof(token, iat=int(NOW) - age)) == reason


async def test_the_window_is_the_operator_s(serve: Serve) -> None:
    server = serve(dpop_window=10)
    token = server.token()
    assert await server.refused(token, server.ann.proof(token, iat=int(NOW) - 10)) == "proof_stale"
    assert (await server.ask(token, server.ann.proof(token, iat=int(NOW) - 9))).status == 200


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_an_algorithm_that_proves_nothing_is_refused(server: Server, algorithm: str) -> None:
    token = server.token()
    proof = server.ann.proof(token, header={"alg": algorithm})
    for spelling in (proof, proof.rpartition(".")[0] + ".", hmac_proof(server.ann, token, b"x" * 32)):
        assert await server.refused(token, spelling) in ("proof_algorithm_refused", "proof_malformed")


async def test_a_private_key_in_a_proof_is_refused(server: Server) -> None:
    token = server.token()
    proof = server.ann.proof(token, header={"jwk": server.ann.private_jwk})
    assert await server.refused(token, proof) == "proof_key_refused"


async def test_two_proofs_are_refused_in_two_headers_and_in_one(server: Server) -> None:
    token = server.token()
    one, other = server.ann.proof(token), server.ann.proof(token)
    assert (await server.ask(token, one, ("dpop", other))).status == 400
    assert await server.refused(token, f"{one}, {other}") == "proof_malformed"
    assert await server.refused(token, f"{one},{other}") == "proof_malformed"
    assert server.callers == []


async def test_an_access_token_is_no_proof_and_a_proof_no_access_token(server: Server) -> None:
    token = server.token()
    assert await server.refused(token, token) == "proof_malformed"
    proof = server.ann.proof(token)
    assert await server.refused(proof, server.ann.proof(proof)) == "token_type_refused"
    assert refused(await server.send([("authorization", f"Bearer {proof}")])) == "token_type_refused"


async def test_whoever_asks_about_a_token_alone_gets_no_bound_one_accepted(server: Server) -> None:
    """The hosts' own verifiers see a token and no request."""
    door = server.world.door(only=("auth0",), **settings_of())
    assert await door.verdict(server.token()) == (401, "sender_constrained")


async def test_a_bound_token_counts_against_a_stranger_who_has_no_key(serve: Serve) -> None:
    server = serve(rate_limit_anonymous="3/60")
    token, thief = server.token(), Holder(server.world.clock.now, number=1, url=URL)
    replies = [await server.ask(token, thief.proof(token)) for _ in range(4)]
    assert [reply.status for reply in replies] == [401, 401, 401, 429]


# --- Replay -----------------------------------------------------------------------------------------------------------


async def test_a_proof_is_good_once(server: Server) -> None:
    token = server.token()
    proof = server.ann.proof(token)
    assert (await server.ask(token, proof)).status == 200
    server.world.clock.advance(59)
    assert await server.refused(token, proof) == "proof_replayed"
    server.world.clock.advance(1)
    assert await server.refused(token, proof) == "proof_stale"


async def test_a_proof_from_a_fast_clock_is_good_once_until_it_ages_out(server: Server) -> None:
    token = server.token()
    proof = server.ann.proof(token, iat=int(NOW) + 60)
    assert (await server.ask(token, proof)).status == 200
    for _ in range(3):
        server.world.clock.advance(39)
        assert await server.refused(token, proof) == "proof_replayed"
    server.world.clock.advance(3)
    assert await server.refused(token, proof) == "proof_stale"


async def test_the_same_id_under_two_keys_is_two_proofs(server: Server) -> None:
    ben = Holder(server.world.clock.now, number=1, url=URL)
    assert (await server.ask(server.token(), server.ann.proof(server.token(), jti="1"))).status == 200
    token = server.token(ben)
    assert (await server.send(ben.headers(token, jti="1"))).status == 200


async def test_a_proof_that_was_refused_for_something_else_takes_no_place(server: Server) -> None:
    token = server.token()
    assert await server.refused(token, server.ann.proof(token, jti="1", method="GET")) == "proof_of_another_request"
    assert (await server.ask(token, server.ann.proof(token, jti="1"))).status == 200


async def test_a_reload_forgets_no_proof(server: Server) -> None:
    from tenantry.assemble import Outside, assemble

    world = server.world
    outside = Outside(world.clock, world.fetch, world.seen)
    first = assemble(world.settings(only=("auth0",), **settings_of()), outside)
    server.guarded.front = first.front
    token = server.token()
    proof = server.ann.proof(token)
    assert (await server.ask(token, proof)).status == 200
    second = assemble(world.settings(only=("auth0",), **settings_of(), token_cache_ttl=60), before=first)
    server.guarded.front = second.front
    assert await server.refused(token, proof) == "proof_replayed"
    assert (await server.ask(token)).status == 200
    await first.aclose(second)
    await second.aclose()


def test_a_full_memory_refuses_newcomers_and_forgets_nobody() -> None:
    used = Replays(size=2, share=2)
    used.use("ann", "key", "1", NOW, NOW + 60)
    used.use("ben", "key", "2", NOW, NOW + 30)
    with pytest.raises(Unavailable, match="proofs_full") as full:
        used.use("cem", "key", "3", NOW + 1, NOW + 60)
    assert full.value.retry_after == 29
    for id in ("1", "2"):
        with pytest.raises(ProofInvalid, match="proof_replayed"):
            used.use("ann", "key", id, NOW + 1, NOW + 60)
    used.use("cem", "key", "3", NOW + 30, NOW + 90)
    assert len(used) == 2


def test_one_caller_cannot_take_the_places_of_all() -> None:
    used = Replays(size=10, share=2)
    for id in ("1", "2"):
        used.use("ann", "key", id, NOW, NOW + 60)
    with pytest.raises(OverQuota, match="proof_quota"):
        used.use("ann", "another key", "3", NOW, NOW + 60)
    used.use("ben", "key", "4", NOW, NOW + 60)
    used.use("ann", "key", "5", NOW + 60, NOW + 120)


def test_a_clock_that_is_set_back_brings_no_used_proof_to_life() -> None:
    used = Replays()
    used.use("ann", "key", "1", NOW, NOW + 60)
    used.use("ann", "key", "2", NOW + 100, NOW + 160)
    with pytest.raises(ProofInvalid, match="proof_stale"):
        used.use("ann", "key", "1", NOW, NOW + 60)


# --- The server's nonce -----------------------------------------------------------------------------------------------


async def test_a_client_is_told_the_nonce_once_and_the_next_before_it_ends(serve: Serve) -> None:
    server = serve(dpop_nonce="required", dpop_nonce_key=NONCE_KEY)
    token = server.token()
    reply = await server.ask(token)
    assert refused(reply) == "proof_nonce_needed"
    assert 'DPoP error="use_dpop_nonce"' in challenges(reply)[1]
    assert "error" not in challenges(reply)[0]
    server.ann.nonce = header(reply, "dpop-nonce")
    reply = await server.ask(token)
    assert (reply.status, header(reply, "dpop-nonce")) == (200, None)
    server.world.clock.advance(RENEWED_AFTER + 1)
    reply = await server.ask(token)
    renewed = header(reply, "dpop-nonce")
    assert reply.status == 200
    assert renewed not in (None, server.ann.nonce)
    server.ann.nonce = renewed
    server.world.clock.advance(LIFETIME - 1)
    assert (await server.ask(token)).status == 200


async def test_an_old_or_forged_nonce_is_answered_with_a_new_one(serve: Serve) -> None:
    server = serve(dpop_nonce="required", dpop_nonce_key=NONCE_KEY)
    token, ours = server.token(), Nonces(NONCE_KEY.encode())
    for nonce in (ours.new(NOW - LIFETIME), ours.new(NOW + 3600), Nonces(b"x" * 32).new(NOW), "junk", "\u00e9", ""):
        reply = await server.ask(token, server.ann.proof(token, nonce=nonce))
        assert refused(reply) == "proof_nonce_needed"
        fresh = header(reply, "dpop-nonce")
        assert fresh is not None
        assert ours.age(fresh, NOW) == 0
    assert server.callers == []


async def test_replicas_that_share_the_key_share_the_nonces(serve: Serve) -> None:
    one, other, stranger = (
        serve(dpop_nonce="required", **key)
        for key in ({"dpop_nonce_key": NONCE_KEY}, {"dpop_nonce_key": NONCE_KEY}, {})
    )
    token = one.token()
    one.ann.nonce = other.ann.nonce = stranger.ann.nonce = header(await one.ask(token), "dpop-nonce")
    assert (await other.ask(token)).status == 200
    assert await stranger.refused(token) == "proof_nonce_needed"


async def test_a_nonce_is_told_to_holders_of_the_key_alone(serve: Serve) -> None:
    server = serve(dpop_nonce="required", rate_limit_anonymous="3/60")
    token, thief = server.token(), Holder(server.world.clock.now, number=1, url=URL)
    assert header(await server.ask(token, thief.proof(token)), "dpop-nonce") is None
    for _ in range(5):  # asking for one is held against nobody
        assert await server.refused(token) == "proof_nonce_needed"


async def test_a_proof_with_a_nonce_that_nobody_asked_for_is_a_proof(server: Server) -> None:
    token = server.token()
    assert (await server.ask(token, server.ann.proof(token, nonce="of another server"))).status == 200


# --- What clients are told --------------------------------------------------------------------------------------------


async def test_who_comes_with_nothing_is_told_both_schemes_bearer_first(server: Server) -> None:
    reply = await server.send([])
    bearer, dpop = challenges(reply)
    assert reply.status == 401
    assert bearer.startswith("Bearer resource_metadata=")
    assert dpop == 'DPoP algs="ES256 ES384 ES512 EdDSA Ed25519 PS256 RS256"'


@pytest.mark.parametrize(("mode", "only", "required"), [("accept", ("auth0",), False), ("require", ("auth0",), True)])
async def test_the_metadata_says_what_proofs_are_taken(serve: Serve, mode: str, only: Any, required: bool) -> None:
    server = serve(auth0_dpop=mode, google_client_id=None, api_key=None)
    document = (await server.send([], method="GET", path="/.well-known/oauth-protected-resource/mcp")).json()
    assert document["dpop_signing_alg_values_supported"][0] == "ES256"
    assert document["dpop_bound_access_tokens_required"] is required


async def test_it_is_required_of_all_only_when_every_provider_requires_it(serve: Serve) -> None:
    server = serve(auth0_dpop="require")
    document = (await server.send([], method="GET", path="/.well-known/oauth-protected-resource/mcp")).json()
    assert document["dpop_bound_access_tokens_required"] is False


async def test_the_metadata_says_nothing_where_it_is_off(serve: Serve) -> None:
    server = serve(auth0_dpop="off")
    document = (await server.send([], method="GET", path="/.well-known/oauth-protected-resource/mcp")).json()
    assert [name for name in document if name.startswith("dpop")] == []


async def test_too_few_permissions_are_said_under_both_schemes(serve: Serve) -> None:
    server = serve(tool_permissions={"*": "notes:write"})
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {}}}
    body = json.dumps(call).encode()
    reply = await server.ask(
        server.token(), None, ("content-type", "application/json"), ("content-length", str(len(body))), body=body
    )
    assert reply.status == 403
    assert all('error="insufficient_scope"' in challenge for challenge in challenges(reply))


async def test_a_websocket_handshake_is_a_get_of_the_same_address(server: Server) -> None:
    token = server.token()
    scope = a_scope("websocket", headers=[HOST, *server.ann.headers(token, method="GET")], subprotocols=[])

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        pass

    await server.guarded(scope, receive, send)
    assert [caller.provider for caller in server.callers] == ["auth0"]


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ({"dpop_window": 4}, "MCP_HTTP_DPOP_WINDOW"),
        ({"dpop_window": 301}, "MCP_HTTP_DPOP_WINDOW"),
        ({"auth0_dpop": "yes"}, "MCP_HTTP_AUTH0_DPOP"),
        ({"dpop_nonce": "required", "dpop_nonce_key": "too short"}, "MCP_HTTP_DPOP_NONCE_KEY"),
        ({"dpop_nonce_key": NONCE_KEY}, "MCP_HTTP_DPOP_NONCE"),
        ({"oidc_providers": [{"name": "a", "issuer": "https://a.example", "audience": URL, "dpop": "off"}]}, "'dpop'"),
    ],
)
async def test_a_setting_that_makes_no_sense_is_refused_by_name(serve: Serve, settings: Any, variable: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        serve(**settings)
