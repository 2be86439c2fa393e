"""tenantry in front of an OpenID provider that nobody here wrote: ``oidc-provider``, which is certified.

Its tokens are had as clients have them: by signing in with PKCE, or with a client's own secret, for this server alone
(RFC 8707). The clock is the real one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from tests.support import Door, Echo, a_client

from tenantry.adapters.asgi import GateMiddleware
from tenantry.adapters.clock import SystemClock
from tenantry.adapters.http import HttpFetch
from tenantry.assemble import Assembly, Outside, assemble
from tenantry.settings import Settings
from tenantry.testing import Recorder

from .conftest import HERE, environment

pytestmark = pytest.mark.anyio
RESOURCE, ELSEWHERE = "http://127.0.0.1:8000/mcp", "https://other.example/mcp"
SIGNED = {"rs256": "RS256", "es256": "ES256", "eddsa": "EdDSA"}
# With what RFC 6749 section 2.3.1 has encoded first.
ASKER, ASKER_SECRET = "tenantry: introspection", "a made-up+secret/of the:tests%41&="
SECRET = "a-made-up-secret-of-a-client"
CALLBACK = "http://127.0.0.1:9/callback"
KEY = ec.generate_private_key(ec.SECP256R1())
METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")


def client(name: str, **more: Any) -> dict[str, Any]:
    grants = ["authorization_code", "refresh_token", "client_credentials"]
    usual = {"client_secret": SECRET, "redirect_uris": [CALLBACK], "grant_types": grants}
    return {"client_id": name, **usual, "token_endpoint_auth_method": "client_secret_post", **more}


def asker(method: str) -> dict[str, Any]:
    """A client that is this server's: it gets no tokens, it asks about them."""
    name = ASKER if method == "client_secret_basic" else method
    usual = {"client_id": name, "token_endpoint_auth_method": method, "redirect_uris": [], "response_types": []}
    if method == "private_key_jwt":
        key = {**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "alg": "ES256", "use": "sig"}
        return {**usual, "grant_types": [], "jwks": {"keys": [key]}}
    return {**usual, "grant_types": [], "client_secret": ASKER_SECRET}


CLIENTS = [*map(client, (*SIGNED, "opaque")), *map(asker, METHODS)]


class Peer:
    """The provider, and what a client does to get a token from it."""

    def __init__(self, issuer: str, http: httpx.AsyncClient) -> None:
        self.issuer = issuer
        self._http = http

    async def token(self, name: str, resource: str = RESOURCE, *, proof: str | None = None) -> str:
        """A client's own (client_credentials)."""
        form = {"grant_type": "client_credentials", "scope": "notes:read", "resource": resource}
        return str((await self._tokens(name, form, proof))["access_token"])

    async def sign_in(self, name: str, person: str, *, scope: str = "openid notes:read") -> dict[str, Any]:
        """Everything that the token endpoint gives a client in which ``person`` signs in."""
        verifier = "v" * 43
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        wish = {"client_id": name, "response_type": "code", "redirect_uri": CALLBACK, "scope": scope}
        wish |= {"code_challenge": challenge, "code_challenge_method": "S256", "prompt": "consent"}
        wish |= {"login_hint": person, "resource": RESOURCE}
        self._http.cookies.clear()
        where = (await self._http.get("/auth", params=wish)).headers["location"]
        for _ in range(2):  # the page that asks, and back
            where = (await self._http.get(where)).headers["location"]
        code = parse_qs(urlsplit(where).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "resource": RESOURCE}
        return await self._tokens(name, {**form, "code_verifier": verifier}, None)

    async def revoke(self, name: str, token: str) -> None:
        form = {"client_id": name, "client_secret": SECRET, "token": token}
        assert (await self._http.post("/token/revocation", data=form)).status_code == 200

    async def rotate(self) -> None:
        await self._http.post("/_peer/rotate")

    async def calls(self, path: str) -> int:
        return int((await self._http.get("/_peer/calls")).json().get(path, 0))

    async def _tokens(self, name: str, form: dict[str, str], proof: str | None) -> dict[str, Any]:
        answer = await self._http.post(
            "/token",
            data={**form, "client_id": name, "client_secret": SECRET},
            headers={} if proof is None else {"DPoP": proof},
        )
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens


@pytest.fixture(scope="module")
def issuer(node: Path, node_modules: Path) -> Iterator[str]:
    program = Path(shutil.copy(HERE / "oidc_provider.mjs", node_modules.parent))
    run = json.dumps({"clients": CLIENTS, "resource": RESOURCE, "elsewhere": ELSEWHERE})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([node, program, run], env=environment(), **pipes) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield json.loads(process.stdout.readline())["issuer"]
        finally:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


@pytest.fixture
async def peer(issuer: str) -> AsyncIterator[Peer]:
    async with httpx.AsyncClient(base_url=issuer, trust_env=False, timeout=20) as http:
        yield Peer(issuer, http)


@contextlib.asynccontextmanager
async def a_gate(**settings: Any) -> AsyncIterator[Assembly]:
    around = Outside(SystemClock(), HttpFetch(allow_loopback_http=True), Recorder())
    made = assemble(Settings(environment="development", public_url=RESOURCE, **settings), around)
    try:
        yield made
    finally:
        await made.aclose()


def signed(peer: Peer, algorithms: Sequence[str] = tuple(SIGNED.values()), **more: Any) -> dict[str, Any]:
    """Settings that trust its JWTs."""
    entry = {"name": "peer", "issuer": peer.issuer, "audience": RESOURCE, "algorithms": list(algorithms), **more}
    return {"oidc_providers": [entry]}


def asked(peer: Peer, **more: Any) -> dict[str, Any]:
    """Settings that ask it about opaque tokens."""
    entry = {"name": "peer-opaque", "issuer": peer.issuer, "audience": RESOURCE, "default": True, **more}
    if "client_id" not in entry:
        entry |= {"client_id": ASKER, "client_secret": ASKER_SECRET}
    return {"introspection_providers": [entry]}


@pytest.mark.parametrize("name", SIGNED)
async def test_a_signed_token_for_us_is_admitted_whatever_the_algorithm(peer: Peer, name: str) -> None:
    token = (await peer.sign_in(name, "ann"))["access_token"]
    header = jwt.get_unverified_header(token)
    assert (header["alg"], header["typ"]) == (SIGNED[name], "at+jwt")
    async with a_gate(**signed(peer)) as made:
        user = await Door(made).admit(token)
    assert (user.user_id, user.client_id, user.permissions) == ("peer:ann", name, {"notes:read"})


async def test_an_algorithm_that_is_not_listed_is_refused(peer: Peer) -> None:
    async with a_gate(**signed(peer, ["ES256"])) as made:
        assert await Door(made).verdict(await peer.token("rs256")) == (401, "algorithm_refused")
        assert await Door(made).admit(await peer.token("es256"))


async def test_a_token_for_another_server_is_refused_signed_and_opaque(peer: Peer) -> None:
    async with a_gate(**signed(peer), **asked(peer)) as made:
        for name in ("es256", "opaque"):
            assert await Door(made).verdict(await peer.token(name, ELSEWHERE)) == (401, "audience_mismatch")


async def test_an_id_token_is_no_access_token(peer: Peer) -> None:
    token = (await peer.sign_in("rs256", "ann"))["id_token"]
    async with a_gate(**signed(peer)) as made:
        assert await Door(made).verdict(token) in ((401, "audience_mismatch"), (401, "token_kind_refused"))


async def test_after_a_rotation_new_tokens_are_admitted_with_one_fetch_and_old_ones_refused(peer: Peer) -> None:
    async with a_gate(**signed(peer)) as made:
        door = Door(made)
        await door.admit(await peer.token("es256"))
        old = await peer.token("es256")
        fetched = await peer.calls("/jwks")
        await peer.rotate()
        for name in SIGNED:
            assert await door.admit(await peer.token(name))
        assert await peer.calls("/jwks") == fetched + 1
        # Of a key that is heard of only now, and may be a newer one: it is looked for again in a moment.
        assert await door.verdict(old) in ((401, "key_unknown"), (503, "keys_unconfirmed"))


@pytest.mark.parametrize("method", METHODS)
async def test_an_opaque_token_is_asked_about_in_each_way_that_a_client_can_show_itself(
    peer: Peer, method: str, tmp_path: Path
) -> None:
    told: dict[str, Any] = {"auth_method": method, "client_id": asker(method)["client_id"]}
    if method == "private_key_jwt":
        form = serialization.PrivateFormat.PKCS8
        pem = KEY.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        (tmp_path / "key.pem").write_bytes(pem)
        told["private_key"] = str(tmp_path / "key.pem")
    else:
        told["client_secret"] = ASKER_SECRET
    token = (await peer.sign_in("opaque", "bob"))["access_token"]
    assert "." not in token
    async with a_gate(**asked(peer, **told)) as made:
        user = await Door(made).admit(token)
    assert (user.user_id, user.client_id, user.permissions) == ("peer-opaque:bob", "opaque", {"notes:read"})
    assert user.expires_at is not None
    assert time.time() < user.expires_at <= time.time() + 3601


async def test_with_a_wrong_secret_everybody_gets_503_and_the_operator_is_told(peer: Peer) -> None:
    async with a_gate(**asked(peer, client_id=ASKER, client_secret="another")) as made:
        refusal = await Door(made).refuse(await peer.token("opaque"))
    assert (refusal.status, refusal.reason) == (503, "provider_misconfigured")


async def test_a_client_that_calls_for_itself_is_no_person(peer: Peer) -> None:
    async with a_gate(**asked(peer)) as made:
        user = await Door(made).admit(await peer.token("opaque"))
    assert user.user_id == "peer-opaque:client%3Aopaque"


@pytest.mark.parametrize("bound", [{}, {"audience": None, "clients": ["opaque"]}])
async def test_a_refresh_token_is_active_and_no_access_token(peer: Peer, bound: dict[str, Any]) -> None:
    tokens = await peer.sign_in("opaque", "ann", scope="openid offline_access notes:read")
    async with a_gate(**asked(peer, **bound)) as made:
        assert (await Door(made).admit(tokens["access_token"])).subject == "ann"
        status, reason = await Door(made).verdict(tokens["refresh_token"])
    assert (status, reason) in ((401, "audience_mismatch"), (401, "token_kind_refused"))


async def test_a_revoked_token_is_refused_by_who_has_not_seen_it(peer: Peer) -> None:
    token = (await peer.sign_in("opaque", "ann"))["access_token"]
    async with a_gate(**asked(peer)) as made, a_gate(**asked(peer)) as other:
        assert await Door(made).admit(token)
        await peer.revoke("opaque", token)
        assert await Door(other).verdict(token) == (401, "token_rejected")
        assert await Door(made).admit(token), "within MCP_HTTP_TOKEN_CACHE_TTL, as its page says"


async def test_each_kind_goes_where_it_belongs_and_nothing_else_is_asked(peer: Peer) -> None:
    async with a_gate(**signed(peer), **asked(peer)) as made:
        door = Door(made)
        before = await peer.calls("/token/introspection")
        assert (await door.admit(await peer.token("eddsa"))).provider == "peer"
        assert await peer.calls("/token/introspection") == before
        assert (await door.admit(await peer.token("opaque"))).provider == "peer-opaque"
        assert await peer.calls("/token/introspection") == before + 1


def proof(key: ec.EllipticCurvePrivateKey, url: str, token: str | None = None, method: str = "POST") -> str:
    """RFC 9449 section 4.2."""
    public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
    if token is not None:
        claims["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    return jwt.encode(claims, key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": public})


@pytest.mark.parametrize("name", ["es256", "opaque"])
async def test_a_token_that_is_bound_to_a_key_needs_a_proof_with_every_request(peer: Peer, name: str) -> None:
    key, thief = KEY, ec.generate_private_key(ec.SECP256R1())
    token = await peer.token(name, proof=proof(key, f"{peer.issuer}/token"))
    async with a_gate(**signed(peer), **asked(peer)) as made:
        assert await Door(made).verdict(token) == (401, "sender_constrained")
    async with (
        a_gate(**signed(peer, dpop="accept"), **asked(peer, dpop="accept")) as made,
        a_client(GateMiddleware(Echo(), made.front)) as http,
    ):

        async def ask(scheme: str, *proofs: str) -> tuple[int, str | None]:
            headers = [("authorization", f"{scheme} {token}"), *(("dpop", one) for one in proofs)]
            answer = await http.post("/mcp", headers=headers)
            return answer.status_code, answer.json().get("reason")

        mine = proof(key, RESOURCE, token)
        assert await ask("DPoP", mine) == (200, None)
        assert (await ask("DPoP", mine))[0] == 401, "used before"
        assert (await ask("DPoP", proof(key, RESOURCE, token)))[0] == 200
        assert (await ask("Bearer"))[0] == 401
        assert (await ask("DPoP"))[0] == 401
        assert (await ask("DPoP", proof(thief, RESOURCE, token)))[0] == 401
        assert (await ask("DPoP", proof(key, ELSEWHERE, token)))[0] == 401
        assert (await ask("DPoP", proof(key, RESOURCE, "another token")))[0] == 401
        assert (await ask("DPoP", proof(key, RESOURCE, token, "GET")))[0] == 401
