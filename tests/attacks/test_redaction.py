"""A thousand random tokens through every path a request has, and no piece of one in anything that comes out: answers,
log (DEBUG, both forms), metrics, audit, standard output and error."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import random
import string
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.support import Echo, Reply, World, a_client, a_scope

from tenantry import TenantryMiddleware
from tenantry.core.apikeys import compose_key
from tenantry.logs import Console, configure

pytestmark = pytest.mark.anyio

KEY = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"
PIECE = 16
LETTERS = string.ascii_letters + string.digits


def b64(dice: random.Random, size: int) -> str:
    return base64.urlsafe_b64encode(dice.randbytes(size)).decode().rstrip("=")


def jwt(dice: random.Random) -> str:
    """A token of a configured issuer, a foreign one or none, with a signature that is none."""
    issuer = dice.choice(["https://accounts.google.com", "https://evil.example", b64(dice, 24)])
    claims = {"iss": issuer, "sub": b64(dice, 24), "aud": b64(dice, 24), "email": f"{b64(dice, 24)}@x.example"}
    head = {"alg": dice.choice(["RS256", "none", "HS256", b64(dice, 18)]), "kid": b64(dice, 24)}
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, claims))
    return ".".join([*parts, b64(dice, 256)])


SHAPES: list[Callable[[random.Random], str]] = [
    jwt,
    lambda dice: "ya29." + b64(dice, 60),
    lambda dice: "gho_" + "".join(dice.choices(LETTERS, k=36)),
    lambda dice: "github_pat_" + "".join(dice.choices(LETTERS, k=82)),
    lambda dice: compose_key("live", dice.randbytes(8), dice.randbytes(32)),
    lambda dice: dice.randbytes(20).hex(),
    lambda dice: b64(dice, 32),
    lambda dice: base64.b64encode(dice.randbytes(48)).decode(),
    lambda dice: "".join(dice.choices(LETTERS, k=32)),
    lambda dice: "sk-" + "".join(dice.choices(LETTERS, k=48)),
]


def tokens(seed: str, count: int) -> list[str]:
    dice = random.Random(seed)
    return [SHAPES[number % len(SHAPES)](dice) for number in range(count)]


# Where a token decides nothing.
ASIDE = """
    x-request-id traceparent tracestate user-agent cookie referer x-forwarded-for x-user-id mcp-name mcp-method
    mcp-session-id last-event-id
""".split()
Asking = tuple[list[tuple[str, str]], dict[str, Any]]


def everywhere(token: str) -> Iterator[Asking]:
    """(headers, rest of the scope and ``body``) of each request that carries the token somewhere."""
    good = [("x-api-key", KEY), ("content-type", "application/json")]
    # JSON-RPC obliges the answer to repeat the id to whoever chose it, so that is none of the paths.
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": token, "arguments": {token: token}}}
    yield [("authorization", f"Bearer {token}")], {}
    yield [("x-api-key", token)], {}
    yield [("authorization", f"Bearer {token}"), ("x-api-key", token)], {}
    for name in ("access_token", "api_key", "q", token):
        yield good, {"query_string": f"{name}={quote(token)}".encode()}
    yield [], {"query_string": quote(token).encode()}
    for value in (f"Basic {token}", f"DPoP {token}", f"Token {token}", token, f"Bearer  {token}", f"{token} x"):
        yield [("authorization", value)], {}
    aside = [(name, token) for name in ASIDE]
    for more in ([], [("mcp-protocol-version", "2026-07-28")], [("mcp-protocol-version", token)], [("host", token)]):
        yield [*good, *aside, *more], {}
        yield [*aside, *more], {}
    yield [*good, ("origin", f"https://{token}.example")], {}
    yield [("origin", f"https://{token}.example")], {"method": "OPTIONS"}
    yield [*good, ("traceparent", f"00-{token}-{token}-01")], {}
    yield (
        [*good, ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", token)],
        {"body": json.dumps(call).encode()},
    )
    for path in (f"/{token}", f"/mcp/{token}", f"/.well-known/{token}"):
        yield good, {"path": path, "raw_path": path.encode()}
        yield [], {"path": path, "raw_path": path.encode(), "method": "GET"}
    for body in (call, {**call, "method": token}, {token: 1}, [call, token], token):
        yield good, {"body": json.dumps(body).encode()}
    yield good, {"body": token.encode()}
    yield [*good[:1], ("content-type", token), ("content-encoding", token)], {"body": b"{}"}


async def sent(app: Any, headers: list[tuple[str, str]], more: dict[str, Any]) -> str:
    """Send it by hand; all of the answer."""
    reply, rest = Reply(), dict(more)
    body = rest.pop("body", b"")

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        reply.messages.append(dict(message))

    await app(a_scope(headers=headers, **{"client": ("203.0.113.9", 4000), **rest}), receive, send)
    return f"{reply.messages}"


def pieces_found(text: str, secrets: Iterable[str]) -> set[str]:
    pieces = {secret[at : at + PIECE] for secret in secrets for at in range(len(secret) - PIECE + 1)}
    # What every token of a kind begins with tells nothing of one.
    public = {piece for piece in pieces if piece.startswith(("eyJhbGciOiA", "eyJpc3MiOiA"))}
    return {text[at : at + PIECE] for at in range(len(text) - PIECE + 1)} & (pieces - public)


RULES = {"notes_*": "notes:read"}


@pytest.fixture
async def stack(world: World, tmp_path: Path) -> AsyncIterator[tuple[Any, io.StringIO, Path]]:
    """A gated server as ``tenantry serve`` makes it, with everything on that writes, and the log in both its forms."""
    root, raises = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    stream, audit = io.StringIO(), tmp_path / "audit.jsonl"
    settings = world.settings(
        api_keys={KEY: {"name": "ci", "tenant_id": "acme", "permissions": ["notes:read", "metrics:read"]}},
        log_format="json",
        log_level="debug",
        metrics="on",
        tool_permissions=RULES,
        rate_limit_tenant="off",
        rate_limit_anonymous="off",
        audit_sinks=f"file:{audit}",
        audit_on_error="open",
        audit_hmac_key="Yw4vGq8Kz1Tn6Hs3Lb9Rc2Xd7Mf5Jp0A",
    )
    configure(settings, stream)
    console = logging.StreamHandler(stream)
    console.setFormatter(Console())
    root.addHandler(console)
    app = TenantryMiddleware(Echo(), settings=settings)
    if app._start is not None:
        app._start()  # the lifespan's part
    yield app, stream, audit
    await app.aclose()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises


async def test_no_piece_of_a_token_comes_out_anywhere(
    stack: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    app, stream, audit = stack
    logging.getLogger("tenantry").addHandler(caplog.handler)
    secrets = tokens("in process", 1000)
    answers = []
    for token in secrets:
        for headers, more in everywhere(token):
            answers.append(await sent(app, headers, more))
        await asyncio.sleep(0)  # the audit's turn to write
    logging.getLogger("tenantry").removeHandler(caplog.handler)
    metrics = await sent(app, [("x-api-key", KEY)], {"path": "/metrics", "method": "GET"})
    assert "tenantry_auth_requests_total" in metrics
    await app.aclose()
    raw = "\n".join(f"{record.__dict__}" for record in caplog.records)
    outputs = {
        "the answers": "\n".join(answers),
        "the log": stream.getvalue(),
        "the records of our logger": raw,
        "the metrics": metrics,
        "the audit": "\n".join(path.read_text() for path in sorted(audit.parent.rglob("*")) if path.is_file()),
        "standard output and error": "".join(capfd.readouterr()),
    }
    assert len(caplog.records) > 10_000
    for name in ("the answers", "the log", "the audit"):
        assert len(outputs[name]) > 100_000, name
    found = {name: sorted(pieces_found(text, secrets))[:3] for name, text in outputs.items()}
    assert {name: pieces for name, pieces in found.items() if pieces} == {}


async def test_over_a_socket_the_server_says_no_more(
    stack: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, stream, audit = stack
    secrets, answers = tokens("over a socket", 30), []
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)  # the client's, which writes the URLs it asks for
    async with a_client(app, log_level="debug") as client:
        for token in secrets:
            for headers, more in everywhere(token):
                query = more.get("query_string", b"").decode()
                reply = await client.request(
                    more.get("method", "POST"),
                    f"{quote(more.get('path', '/mcp'))}?{query}",
                    headers=[(name, value.encode("latin-1")) for name, value in headers if name != "content-encoding"],
                    content=more.get("body", b""),
                )
                answers.append(f"{reply.headers} {reply.text}")
    outputs = "\n".join([*answers, stream.getvalue(), audit.read_text() if audit.exists() else "", *capfd.readouterr()])
    assert pieces_found(outputs, secrets) == set()


def test_the_search_finds_what_is_there() -> None:
    secrets = tokens("found", 100)
    for secret in secrets:
        assert pieces_found(f"xx{secret[-PIECE:]}", secrets)
    assert not pieces_found("nothing here", secrets)
