"""One fault, one finding: a server that does everything right but for one thing is told exactly that thing."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from email.utils import formatdate

import pytest
from tests.doctor.conftest import bad, look_at, states, text_of
from tests.doctor.exemplary import GOOD_TOKEN, RESULT, Answer, Asked, Exemplary, Fault, as_json

from tenantry.doctor.catalog import SUBJECTS
from tenantry.doctor.outside.browsers import FOREIGN_HOST, FOREIGN_ORIGIN
from tenantry.doctor.outside.probe import MOST_REQUESTS

pytestmark = pytest.mark.anyio

METADATA = "/.well-known/oauth-protected-resource"
AUTHORIZATION_SERVER = "/.well-known/oauth-authorization-server/as"
LET_IN = as_json(200, RESULT)


def when(applies: Callable[[Asked, Answer], bool], change: Callable[[Answer], Answer]) -> Fault:
    return lambda asked, right: change(right) if applies(asked, right) else right


def at(path: str, change: Callable[[Answer], Answer]) -> Fault:
    return when(lambda asked, _: asked.path == path, change)


def refused(change: Callable[[Answer], Answer]) -> Fault:
    """What is changed about every 401."""
    return when(lambda _, right: right.status == 401, change)


def without_token(change: Callable[[Answer], Answer]) -> Fault:
    return when(lambda asked, right: right.status == 401 and asked.token is None, change)


def method(name: str, change: Callable[[Answer], Answer]) -> Fault:
    return when(lambda asked, right: asked.method == name and asked.mcp and right.status == 401, change)


def challenged(old: str, new: str) -> Callable[[Answer], Answer]:
    return lambda right: right.having(www_authenticate=right.headers["www-authenticate"].replace(old, new))


def token(applies: Callable[[str], bool], change: Callable[[Answer], Answer] = lambda _: LET_IN) -> Fault:
    """What is answered to a single credential of a kind."""

    def is_it(asked: Asked, right: Answer) -> bool:
        return right.status == 401 and asked.token is not None and applies(asked.token)

    return when(is_it, change)


def jwt(part: int, name: str, expected: Callable[[object, str], bool]) -> Callable[[str], bool]:
    """Tokens whose header (0) or claims (1) hold something."""

    def is_it(text: str) -> bool:
        parts = text.split(".")
        if len(parts) != 3:
            return False
        members = json.loads(base64.urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)).decode())
        return expected(members.get(name), parts[2])

    return is_it


def rpc(name: str) -> Fault:
    """A JSON-RPC method that needs no token."""

    async def opened(asked: Asked, right: Answer) -> Answer:
        small = int(asked.get("content-length") or 0) < 1_000_000
        plain = asked.mcp and asked.method == "POST" and right.status == 401 and asked.token is None
        return LET_IN if plain and small and f'"{name}"' in await asked.text() else right

    return opened


async def reads_first(asked: Asked, right: Answer) -> Answer:
    await asked.text()
    return right


async def stops(asked: Asked, right: Answer) -> Answer:
    if asked.method == "PATCH":
        await asyncio.Event().wait()
    return right


def echoes(asked: Asked, right: Answer) -> Answer:
    return as_json(401, {"error": f"bad token {asked.token}"}, **_named(right)) if right.status == 401 else right


def _named(right: Answer) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in right.headers.items() if name != "content-type"}


def inside(right: Answer) -> Answer:
    words = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "Unauthorized"}}
    return Answer(200, right.headers, json.dumps(words).encode())


def tool_error(right: Answer) -> Answer:
    result = {"isError": True, "content": [{"type": "text", "text": "You are not authenticated"}]}
    return Answer(200, right.headers, json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())


def status(code: int, **headers: str) -> Callable[[Answer], Answer]:
    return lambda right: Answer(code, right.headers | {name.replace("_", "-"): headers[name] for name in headers})


def document(**members: object) -> Callable[[Answer], Answer]:
    return lambda right: right.document(**members) if right.body else right


def both(*faults: Fault) -> Fault:
    """Of which each changes what others leave alone."""

    def changed(asked: Asked, right: Answer) -> Answer:
        for fault in faults:
            right = fault(asked, right)
        return right

    return changed


def everywhere(change: Callable[[Answer], Answer]) -> Fault:
    return when(lambda asked, _: asked.path.startswith(METADATA), change)


FAULTS: dict[str, tuple[Fault, set[tuple[str, str]]]] = {
    "GET streams to anybody": (method("GET", lambda _: LET_IN), {("methods-closed", "error")}),
    "DELETE is open": (method("DELETE", lambda _: LET_IN), {("methods-closed", "error")}),
    "tools/call is open": (rpc("tools/call"), {("calls-closed", "error")}),
    "a path below is open": (
        when(lambda asked, _: asked.path.startswith("/mcp/doctor"), lambda _: LET_IN),
        {("below-closed", "error")},
    ),
    "any token will do": (token(lambda text: text.startswith("doctor-")), {("token-random", "error")}),
    "garbage will do": (token(lambda text: "!" in text), {("token-garbage", "error")}),
    "the placeholder will do": (token(lambda text: "${" in text), {("token-placeholder", "error")}),
    "alg none will do": (token(jwt(0, "alg", lambda alg, _: alg == "none")), {("token-unsigned", "error")}),
    "signatures are not checked": (
        token(jwt(1, "aud", lambda aud, end: aud != "https://doctor.invalid/mcp" and end != "")),
        {("token-forged", "error"), ("token-expired", "error")},
    ),
    "the audience is not checked": (
        token(jwt(1, "aud", lambda aud, _: aud == "https://doctor.invalid/mcp")),
        {("token-audience", "error")},
    ),
    "the query will do": (
        when(lambda asked, _: "access_token" in asked.query, lambda _: LET_IN),
        {("token-in-query", "error")},
    ),
    "two credentials will do": (
        when(lambda asked, _: bool(asked.get("x-api-key")), lambda _: LET_IN),
        {("two-credentials", "error")},
    ),
    "two Authorization headers will do": (
        when(lambda asked, _: len(asked.all("authorization")) > 1, lambda _: LET_IN),
        {("token-twice", "error")},
    ),
    "a bad token is a 500": (token(lambda text: "." in text, status(500)), {("bad-token-status", "error")}),
    "a bad token is a 403": (token(lambda _: True, status(403)), {("bad-token-status", "error")}),
    "a refusal is a JSON-RPC error": (
        without_token(inside),
        {("refusal-status", "error")},
    ),
    "a refusal is a tool's error": (without_token(tool_error), {("refusal-status", "error")}),
    "GET is a 500": (method("GET", status(500)), {("refusal-status", "error")}),
    "GET goes to a login page": (
        method("GET", status(302, location="/login")),
        {("refusal-status", "error")},
    ),
    "no challenge": (refused(lambda right: right.having(www_authenticate=None)), {("challenge", "error")}),
    "the challenge is Basic": (refused(challenged("Bearer", "Basic")), {("challenge", "error")}),
    "values without quotes": (
        refused(challenged('scope="notes:read"', "scope=notes:read")),
        {("challenge-form", "warning")},
    ),
    "an error without a token": (
        without_token(challenged("Bearer", 'Bearer error="invalid_token",')),
        {("challenge-error", "warning")},
    ),
    "a bad token without an error": (
        refused(challenged('error="invalid_token", ', "")),
        {("challenge-invalid-token", "warning")},
    ),
    "GET has another challenge": (method("GET", challenged("notes:read", "other")), {("challenge-same", "warning")}),
    "the challenge asks for offline_access": (
        refused(challenged("notes:read", "notes:read offline_access")),
        {("challenge-scope", "warning")},
    ),
    "the challenge does not name the metadata": (
        lambda asked, right: (
            challenged(f'resource_metadata="{asked.base}/.well-known/oauth-protected-resource/mcp", ', "")(right)
            if right.status == 401
            else right
        ),
        {("challenge-metadata", "warning")},
    ),
    "the challenge names another host": (
        refused(challenged("http://127.0.0.1", "http://localhost")),
        {("challenge-metadata", "warning")},
    ),
    "the metadata is not there": (everywhere(status(404)), {("metadata", "error")}),
    "the metadata is a page": (
        everywhere(lambda _: Answer(200, {"content-type": "text/html"}, b"<html>")),
        {("metadata", "error")},
    ),
    "no metadata at the root": (at(METADATA, status(404)), {("metadata-places", "warning")}),
    "another document at the root": (at(METADATA, document(scopes_supported=["x"])), {("metadata-places", "error")}),
    "a slash at the resource": (
        lambda asked, right: document(resource=f"{asked.base}/mcp/")(right) if METADATA in asked.path else right,
        {("resource", "error")},
    ),
    "no resource": (everywhere(document(resource=None)), {("resource", "error")}),
    "the metadata without CORS": (
        everywhere(lambda right: right.having(access_control_allow_origin=None)),
        {("metadata-http", "warning")},
    ),
    "the metadata as text": (
        everywhere(lambda right: right.having(content_type="text/plain")),
        {("metadata-http", "warning")},
    ),
    "no authorization servers": (everywhere(document(authorization_servers=[])), {("metadata-servers", "error")}),
    "a host name as authorization server": (
        everywhere(document(authorization_servers=["auth.example.com"])),
        {("metadata-servers", "error"), ("authorization-server", "warning")},
    ),
    "offline_access in the metadata": (
        everywhere(document(scopes_supported=["offline_access"])),
        {("metadata-scopes", "warning")},
    ),
    "a page for every well-known path": (
        when(
            lambda asked, right: asked.path.startswith("/.well-known/doctor") and right.status == 404,
            lambda _: Answer(200, {"content-type": "text/html"}, b"<html>"),
        ),
        {("well-known-404", "warning")},
    ),
    "the authorization server has no metadata": (
        at(AUTHORIZATION_SERVER, status(404)),
        {("authorization-server", "warning")},
    ),
    "another issuer": (at(AUTHORIZATION_SERVER, document(issuer="https://other.example/")), {("issuer", "error")}),
    "no PKCE": (at(AUTHORIZATION_SERVER, document(code_challenge_methods_supported=["plain"])), {("pkce", "error")}),
    "no keys": (at("/keys", document(keys=[])), {("keys", "warning")}),
    "preflights need a token": (
        when(lambda asked, _: asked.preflight, lambda _: as_json(401, {})),
        {("preflight", "warning")},
    ),
    "a header is not allowed": (
        when(
            lambda asked, _: asked.preflight,
            lambda right: right.having(
                access_control_allow_headers=right.headers["access-control-allow-headers"].replace("Mcp-Method, ", "")
            ),
        ),
        {("preflight-headers", "warning")},
    ),
    "no parameters of tools": (
        when(
            lambda asked, _: asked.preflight,
            lambda right: right.having(
                access_control_allow_headers=right.headers["access-control-allow-headers"].replace(
                    ", Mcp-Param-Doctor", ""
                )
            ),
        ),
        {("preflight-headers", "warning")},
    ),
    "the challenge is hidden": (
        refused(lambda right: right.having(access_control_expose_headers="Mcp-Session-Id")),
        {("exposed-headers", "warning")},
    ),
    "the 401 without CORS": (
        refused(lambda right: right.having(access_control_allow_origin=None)),
        {("cors-on-401", "warning")},
    ),
    "a foreign Host is served": (
        lambda asked, right: Exemplary._refused(_based(asked), asked) if asked.get("host") == FOREIGN_HOST else right,
        {("host", "warning")},
    ),
    "the health check tells all": (
        at("/livez", lambda _: as_json(200, {"version": "1.2.3", "database": "postgresql://10.0.0.1/main"})),
        {("health-quiet", "warning")},
    ),
    "a version in a header": (
        refused(lambda right: right.having(server="nginx/1.25.3")),
        {("server-header", "warning")},
    ),
    "a stack trace": (
        method("PUT", lambda right: Answer(401, right.headers, b'Traceback (most recent call last):\n  File "x.py"')),
        {("stack-trace", "error")},
    ),
    "the token in the answer": (echoes, {("token-echo", "error")}),
    "the clock is slow": (refused(lambda right: right.having(date=formatdate(0, usegmt=True))), {("clock", "error")}),
    "the other slash form redirects": (at("/mcp/", status(307, location="/mcp")), {("slash", "warning")}),
    "the body is read first": (reads_first, {("body-limit", "warning")}),
    "one method hangs": (stops, {("answers", "error")}),
    "the endpoint is elsewhere": (
        when(lambda asked, _: asked.path.startswith("/mcp"), lambda _: as_json(404, {})),
        {("reachable", "error")},
    ),
}


def _based(asked: Asked) -> Exemplary:
    server = Exemplary()
    server.base = asked.base
    return server


async def test_a_server_without_a_fault_gets_an_a_whoever_made_it() -> None:
    report = await look_at(Exemplary())
    assert (report.grade, bad(report)) == ("A", set())
    assert states(report)["registration"] == {"ok"}


async def test_a_good_token_shows_more_and_changes_no_grade() -> None:
    server = Exemplary()
    report = await look_at(server, token=GOOD_TOKEN)
    assert (report.grade, bad(report)) == ("A", set())
    assert states(report)["good-token"] == states(report)["token-tampered"] == {"ok"}
    assert {asked.path for asked in server.asked if asked.token == GOOD_TOKEN} == {"/mcp"}
    assert not [asked for asked in server.asked if GOOD_TOKEN in asked.query]


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_found_and_nothing_else_is(name: str) -> None:
    fault, expected = FAULTS[name]
    report = await look_at(Exemplary(fault))
    assert bad(report) == expected
    assert all(finding.mend for finding in report.findings if finding.state in ("warning", "error"))
    decisive = any(state == "error" and SUBJECTS[subject].area in ("access", "https") for subject, state in expected)
    assert (report.grade == "F") is decisive
    assert report.good is (report.grade in ("A", "B"))
    assert report.requests <= MOST_REQUESTS


async def test_a_foreign_origin_is_seen_through_only_with_a_good_token() -> None:
    fault = when(
        lambda asked, right: asked.get("origin") == FOREIGN_ORIGIN,
        lambda _: as_json(401, {"error": "unauthorized"}, www_authenticate='Bearer realm="mcp"'),
    )
    assert states(await look_at(Exemplary(fault)))["origin"] == {"note"}

    def serves(asked: Asked, right: Answer) -> Answer:
        return LET_IN if asked.get("origin") == FOREIGN_ORIGIN and asked.token == GOOD_TOKEN else right

    assert bad(await look_at(Exemplary(serves), token=GOOD_TOKEN)) == {("origin", "error")}


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda asked, right: as_json(401, {}) if asked.token == GOOD_TOKEN else right, ("good-token", "error")),
        (
            lambda asked, right: LET_IN if (asked.token or "").startswith("good-token") else right,
            ("token-tampered", "error"),
        ),
        (
            lambda asked, right: LET_IN if len(asked.all("authorization")) > 1 else right,
            ("token-twice", "warning"),
        ),
        (
            lambda asked, right: LET_IN if len(asked.all("mcp-protocol-version")) > 1 else right,
            ("duplicate-version", "warning"),
        ),
    ],
)
async def test_what_only_a_good_token_shows(fault: Fault, found: tuple[str, str]) -> None:
    assert found in bad(await look_at(Exemplary(fault), token=GOOD_TOKEN))


async def test_a_server_without_any_check_gets_an_f() -> None:
    report = await look_at(Exemplary(when(lambda asked, right: right.status == 401, lambda _: LET_IN)))
    assert report.grade == "F"
    assert {("calls-closed", "error"), ("methods-closed", "error")} <= bad(report)


async def test_open_lists_are_a_note_where_calls_need_a_token() -> None:
    report = await look_at(Exemplary(rpc("tools/list")))
    assert (report.grade, states(report)["calls-closed"]) == ("A", {"note"})


async def test_a_provider_that_is_down_is_no_fault_of_the_server() -> None:
    fault = token(lambda text: "." in text, lambda _: as_json(503, {}, retry_after="5"))
    report = await look_at(Exemplary(fault))
    assert (report.grade, states(report)["bad-token-status"]) == ("A", {"note"})


async def test_the_words_of_a_server_are_shown_on_one_line_and_without_control_signs() -> None:
    fault = everywhere(document(resource="http://127.0.0.1/\x1b[31m\nmcp"))
    text = text_of(await look_at(Exemplary(fault)), "resource")
    assert "\x1b" not in text
    assert "\n" not in text
