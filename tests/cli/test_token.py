"""``tenantry token explain``: its verdict is the gate's, whatever the token, and the token stays where it was."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from tests.support import World, a_world

from tenantry.cli.explaining import Explanation, explain
from tenantry.core.apikeys import compose_key
from tenantry.devidp import OMIT, DevIdp
from tenantry.errors import Refusal
from tenantry.model import Credential
from tenantry.outside import Outside
from tenantry.testing import FakeFetch, TokenMint

from .conftest import COMMAND, PATIENCE, environment
from .terminals import terminal

pytestmark = pytest.mark.anyio

KEY = compose_key("live", b"key id 7", bytes(range(32)))
OTHER_KEY = compose_key("live", b"key id 8", bytes(range(32)))
STRANGER = TokenMint("a stranger")
SETTINGS: dict[str, Any] = {
    "api_keys": {KEY: {"name": "ci", "tenant_id": "acme_example", "permissions": ["notes:read"]}},
    "default_permissions": "help:read",
    "token_cache_ttl": 1,
}

Make = Callable[[World], str]
# Tokens as they arrive: good ones, and each of the ways in which one is wrong.
CORPUS: dict[str, Make] = {
    "google id token": lambda w: w.idp.google.id_token("ann"),
    "google access token": lambda w: w.idp.google.access_token("ann"),
    "google of another app": lambda w: w.idp.google.id_token("ann", client_id="other.apps.googleusercontent.com"),
    "google azp of another app": lambda w: w.idp.google.id_token("ann", azp="other"),
    "google access token of another app": lambda w: w.idp.google.access_token("ann", client_id="other"),
    "google service account": lambda w: w.idp.google.service_account_id_token(w.idp.google.client_id),
    "google expired access token": lambda w: w.idp.google.access_token("ann", expires_in=-1),
    "google unreadable organisation": lambda w: w.idp.google.id_token("ann", hd="not a domain"),
    "auth0 access token": lambda w: w.idp.auth0.access_token("erin"),
    "auth0 rfc 9068": lambda w: w.idp.auth0.access_token("ann", profile="rfc9068"),
    "auth0 scope and permissions": lambda w: w.idp.auth0.access_token("ann", permissions=["read:notes", "a:b"]),
    "auth0 machine token": lambda w: w.idp.auth0.machine_token("robot"),
    "auth0 expired": lambda w: w.idp.auth0.access_token("ann", expires_in=-3600),
    "auth0 expired just now": lambda w: w.idp.auth0.access_token("ann", expires_in=-29),
    "auth0 not yet": lambda w: w.idp.auth0.access_token("ann", nbf=w.clock.now() + 3600),
    "auth0 expired and for another": lambda w: w.idp.auth0.access_token("ann", audience="x", expires_in=-3600),
    "auth0 wrong audience": lambda w: w.idp.auth0.access_token("ann", audience="https://other.example"),
    "auth0 wrong issuer": lambda w: w.idp.auth0.access_token("ann", iss="https://other.eu.auth0.com/"),
    "auth0 id token": lambda w: w.idp.auth0.id_token("ann"),
    "auth0 id token with nonce": lambda w: w.idp.auth0.id_token("ann", nonce="n"),
    "auth0 opaque": lambda w: w.idp.auth0.opaque_token("ann"),
    "auth0 hs256": lambda w: w.idp.auth0.hs256_token("ann"),
    "auth0 without exp": lambda w: w.idp.auth0.access_token("ann", exp=OMIT),
    "auth0 without sub": lambda w: w.idp.auth0.access_token("ann", sub=OMIT),
    "auth0 bound to a key": lambda w: w.idp.auth0.access_token("ann", cnf={"jkt": "x"}),
    "auth0 roles of a wrong type": lambda w: w.idp.auth0.access_token("ann", roles=7),
    "auth0 of a strange key": lambda w: STRANGER.sign(
        {"iss": w.idp.auth0.issuer, "aud": w.idp.auth0.audience, "sub": "x", "iat": 1, "exp": w.clock.now() + 60}
    ),
    "auth0 forged signature": lambda w: _forged(w.idp.auth0.access_token("ann")),
    "auth0 of another type": lambda w: w.idp.auth0.keys.sign({"iss": w.idp.auth0.issuer}, header={"typ": "dpop+jwt"}),
    "github token": lambda w: w.idp.github.token("pat"),
    "github app token": lambda w: w.idp.github.token("pat", prefix="ghu_"),
    "github of another app": lambda w: w.idp.github.token("pat", client_id="Iv1.other"),
    "github classic": lambda w: w.idp.github.token("pat", prefix="ghp_"),
    "github installation": lambda w: w.idp.github.installation_token(long=True),
    "github refresh": lambda w: w.idp.github.token("pat", prefix="ghr_"),
    "github mistyped": lambda w: w.idp.github.token("pat")[:-1] + "_",
    "api key": lambda w: KEY,
    "unknown api key": lambda w: OTHER_KEY,
    "mistyped api key": lambda w: KEY[:-1] + "_",
    "a placeholder": lambda w: "${NOTES_API_KEY}",
    "nothing known": lambda w: "hello",
    "somebody else's secret": lambda w: "sk_live_0123456789",
    "with a blank": lambda w: "two words",
    "two dots": lambda w: "a.b.c",
    "too large": lambda w: "x" * 20_000,
}


def _forged(token: str) -> str:
    head, body, tail = token.split(".")
    return f"{head}.{body}.{'A' * len(tail)}"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as made:
        yield made


async def explained(world: World, token: str, *, offline: bool = False, **changes: Any) -> Explanation:
    settings = world.settings(**{**SETTINGS, **changes})
    return await explain(settings, token.encode(), offline=offline, outside=Outside(world.clock, world.fetch, print))


async def judged(world: World, token: str, **changes: Any) -> str:
    """What the gate says: a reason, or the user."""
    gate = world.assembly(**{**SETTINGS, **changes}).gate
    try:
        return (await gate.validate(Credential(token.encode()))).user.user_id
    except Refusal as refusal:
        return refusal.reason


def said(told: Explanation) -> str:
    if told.refusal is not None:
        return told.refusal.reason
    assert told.user is not None
    return told.user.user_id


@pytest.mark.parametrize("name", CORPUS)
async def test_the_verdict_is_the_gate_s(world: World, name: str) -> None:
    token = CORPUS[name](world)
    told = await explained(world, token)
    assert said(told) == await judged(world, token)
    assert told.verdict == ("valid" if told.refusal is None else "refused")


@pytest.mark.parametrize("name", CORPUS)
async def test_the_first_check_that_fails_is_the_one_that_the_gate_names(world: World, name: str) -> None:
    told = await explained(world, CORPUS[name](world))
    failed = [step.reason for step in told.steps if step.outcome == "refused"]
    assert failed[:1] == ([] if told.refusal is None or not told.steps else [told.refusal.reason])


@pytest.mark.parametrize("name", CORPUS)
async def test_offline_asks_nobody_never_says_valid_and_refuses_only_what_the_gate_refuses(
    world: World, name: str
) -> None:
    token = CORPUS[name](world)
    told = await explained(world, token, offline=True)
    assert len(world.idp.calls) == 0
    assert told.verdict != "valid"
    assert (told.user, told.identity, told.tenant) == (None, None, None)
    if told.verdict == "refused":
        assert said(told) == await judged(world, token)


async def test_every_check_is_shown_also_after_the_first_that_fails(world: World) -> None:
    told = await explained(world, CORPUS["auth0 expired and for another"](world))
    outcomes = {step.name: step.outcome for step in told.steps}
    assert (outcomes["audience"], outcomes["expiry"], outcomes["signature"]) == ("refused", "refused", "passed")


@pytest.mark.parametrize("name", ["auth0 access token", "google id token", "google access token", "github token"])
async def test_a_provider_that_is_down_leaves_it_undecided(world: World, name: str) -> None:
    token, nobody = CORPUS[name](world), Outside(world.clock, FakeFetch(), print)
    told = await explain(world.settings(**SETTINGS), token.encode(), outside=nobody)
    assert (told.verdict, told.user) == ("undecided", None)
    assert [step.outcome for step in told.steps][-1] == "unknown"


async def test_the_result_says_where_tenant_and_permissions_come_from(world: World) -> None:
    told = await explained(world, KEY)
    assert told.tenant is not None
    assert (told.tenant.tenant_id, told.tenant.source) == ("acme_example", "key")
    assert told.granted == {"the credential": ["notes:read"], "MCP_HTTP_DEFAULT_PERMISSIONS": ["help:read"]}


async def test_people_of_other_domains_are_refused_after_the_token_passed(world: World) -> None:
    told = await explained(world, world.idp.google.id_token("ann"), allowed_domains="other.example")
    assert said(told) == "domain_not_allowed"
    assert [step.name for step in told.steps][-2:] == ["identity", "tenant"]


async def test_nothing_is_left_behind(world: World, tmp_path: Path) -> None:
    trail = tmp_path / "audit.jsonl"
    spent = {"audit_sinks": f"file:{trail}", "rate_limit_tenant": "1/3600", "audit_hmac_key": "made-up " * 5}
    for _ in range(3):
        assert (await explained(world, KEY, **spent)).verdict == "valid"
    assert not trail.exists()


async def test_offline_does_not_look_a_key_up_in_the_database(world: World) -> None:
    nowhere = "postgresql://app:made-up-word@127.0.0.1:9/none"
    told = await explained(world, OTHER_KEY, offline=True, api_keys=None, database_connection_string=nowhere)
    assert (told.verdict, told.provider) == ("undecided", "api_key")
    assert told.steps[-1].outcome == "skipped"


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def idp() -> AsyncIterator[DevIdp]:
    idp = DevIdp()
    async with idp.serve():
        yield idp


@pytest.fixture
def command(idp: DevIdp) -> Callable[..., Any]:
    """``tenantry token explain`` with a token on standard input; its exit code, standard output and standard error."""

    async def run(token: str, *words: str, **env: str) -> tuple[int, str, str]:
        def work() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*COMMAND, "token", "explain", *words],
                input=token,
                env=environment(**{**idp.settings(), **env}),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )

        done = await to_thread.run_sync(work)
        secret = token.split()[-1]
        for part in {secret, secret.rsplit(".", 1)[-1]}:
            assert part not in done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


async def test_a_good_token_ends_with_0_and_says_who_and_for_which_tenant(idp: DevIdp, command: Any) -> None:
    code, out, _ = await command(idp.auth0.access_token("ann") + "\n")
    assert code == 0
    assert re.search(r"ok +signature", out)
    assert "user         auth0:google-oauth2|" in out
    assert out.rstrip().endswith("Valid: a request with it is let in.")


async def test_a_header_line_may_be_pasted_whole(command: Any) -> None:
    code, out, _ = await command(f"X-API-Key: {KEY}\n", "--json", MCP_HTTP_API_KEYS=json.dumps({KEY: {"name": "ci"}}))
    assert (code, json.loads(out)["user"]["user_id"]) == (0, "apikey:" + KEY.split("_")[2])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda idp: idp.auth0.opaque_token("ann"), "ask for audience="),
        (lambda idp: idp.auth0.id_token("ann", nonce="n"), "send the access token"),
        (lambda idp: idp.auth0.id_token("ann"), "looks like an ID token"),
        (lambda idp: "Bearer ${NOTES_API_KEY}", "the environment variable is not set"),
        (lambda idp: idp.google.id_token("ann", client_id="other"), "issued to another app"),
        (lambda idp: idp.github.token("pat", client_id="Iv1.other"), "of another app"),
        (lambda idp: idp.github.token("pat", prefix="ghp_"), "bound to no app"),
        (lambda idp: idp.auth0.access_token("ann", expires_in=-7200), "2 h ago"),
        (lambda idp: idp.auth0.access_token("ann", expires_in=-60), "compare this machine's clock"),
        (lambda idp: idp.auth0.access_token("ann", iss="https://x.example/"), "configured are: accounts.google.com, "),
        (lambda idp: idp.auth0.access_token("ann", audience="https://x.example"), "has to ask for audience="),
    ],
)
async def test_the_usual_mistakes_are_explained(
    idp: DevIdp, command: Any, make: Callable[[DevIdp], str], words: str
) -> None:
    code, out, _ = await command(make(idp))
    assert code == 1
    assert words in out


async def test_offline_ends_with_1_for_a_good_token_too(idp: DevIdp, command: Any) -> None:
    code, out, _ = await command(idp.auth0.access_token("ann"), "--offline", "--json")
    report = json.loads(out)
    assert (code, report["verdict"], report["user"]) == (1, "undecided", None)
    assert report["claims"]["iss"] == idp.auth0.issuer
    assert len(idp.calls) == 0


async def test_claims_can_move_no_cursor(idp: DevIdp, command: Any) -> None:
    _, out, _ = await command(idp.auth0.access_token("ann", azp="\x1b[2J\u202e"))
    assert "\x1b" not in out
    assert "\u202e" not in out


@pytest.mark.parametrize("words", [["explain", "tok.en.x"], ["tok.en.x"], ["explain", "--token", "tok.en.x"]])
def test_a_token_as_an_argument_is_refused_and_not_repeated(
    run: Callable[..., subprocess.CompletedProcess[str]], words: list[str]
) -> None:
    done = run("token", *words, MCP_HTTP_API_KEY=KEY)
    assert (done.returncode, done.stdout) == (2, "")
    assert "A token is never an argument" in done.stderr
    assert "tok.en.x" not in done.stderr


@pytest.mark.parametrize("text", ["", "\n", "one\ntwo\n"])
async def test_anything_but_one_token_is_a_usage_error(command: Any, text: str) -> None:
    done = await to_thread.run_sync(
        lambda: subprocess.run(
            [*COMMAND, "token", "explain"],
            input=text,
            env=environment(MCP_HTTP_API_KEY=KEY),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    )
    assert done.returncode == 2
    assert "one token and nothing else" in done.stderr


def test_on_a_terminal_it_asks_and_does_not_show_what_is_typed() -> None:
    with terminal("token", "explain", MCP_HTTP_API_KEYS=json.dumps({KEY: {"name": "ci"}})) as screen:
        screen.until("Token (not shown): ")
        screen.type(KEY)
        screen.until("Valid: a request with it is let in.")
        assert screen.code() == 0
    assert KEY not in screen.shown
