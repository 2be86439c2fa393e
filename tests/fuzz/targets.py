"""What is fuzzed: every parser that reads what a stranger sent, each with what must hold of its answer.

Anything but the refusals that a parser names fails, and so does an answer that another reader of the same bytes would
not give: the standard library's JSON, base64 and URL parsers are the other readers here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from tests.attacks.tokens import API_KEY, auth0, google
from tests.fuzz.guided import Target

from tenantry.core import base64url
from tenantry.core.credentials import check_form, read_credential
from tenantry.core.event_stream import EventStream, EventTooLarge
from tenantry.core.introspection import IntrospectionRules, check_answer, is_active
from tenantry.core.jsonrpc import MAX_BATCH, MAX_METHOD, agree, read_calls
from tenantry.core.jws import parse_claims, parse_jws
from tenantry.core.keys import parse_key_set
from tenantry.core.matching import Routes, match
from tenantry.core.proofs import Asked, check_proof, jwk_thumbprint
from tenantry.core.redaction import redact
from tenantry.core.strict_json import MAX_DEPTH, MAX_MEMBERS, parse_message, parse_object
from tenantry.core.uris import misspelt
from tenantry.errors import CredentialMissing, Refusal, RequestInvalid, TokenInvalid
from tenantry.model import Credential
from tenantry.testing import NOW, TokenMint

# Inputs on which something was wrong once: (target, bytes).
REGRESSIONS: tuple[tuple[str, bytes], ...] = ()

BREAK = b"\n--\n"  # between the parts of an input that has several
ROUTES = Routes(
    frozenset({"google", "auth0", "github", "api_key"}),
    {"https://accounts.google.com": "google", "https://acme.eu.auth0.com/": "auth0"},
)
HEADER, CLAIMS = (base64.urlsafe_b64decode(part + "==") for part in google().split(".")[:2])
KEYS = json.dumps(TokenMint("attacks-google").jwks()).encode()
CURVE = (  # RFC 7517 appendix A.1, as if it were of a client
    b'{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",'
    b'"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}'
)
TOKEN = b"a token"
ASKED = Asked("POST", "https://mcp.example.com/mcp", TOKEN, jwk_thumbprint(json.loads(CURVE.decode())))
PROOF = json.dumps(
    {
        "jti": "1",
        "htm": ASKED.method,
        "htu": ASKED.url,
        "iat": int(NOW),
        "ath": base64url.encode(hashlib.sha256(TOKEN).digest()).decode(),
    }
).encode()
PROOF_HEADER = b'{"typ":"dpop+jwt","alg":"ES256","jwk":' + CURVE + b"}"
CALL = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":[1,2.5,"x"]},'
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}'
)
BATCH = b'[{"jsonrpc":"2.0","id":"a","method":"resources/read","params":{"uri":"notes://1"}},{"jsonrpc":"2.0","method":"notifications/x"}]'
ANSWER = b'{"jsonrpc":"2.0","id":1,"result":{"x":null}}'
ACTIVE = b'{"active":true,"aud":["us"],"client_id":"c","sub":"1","token_type":"Bearer","exp":1795000600,"scope":"a b"}'


def encoded(*parts: bytes) -> bytes:
    """As a JWS is written."""
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


def jws(token: bytes) -> None:
    """What is read has one spelling, and says what the standard library reads in it."""
    try:
        found = parse_jws(token)
        claims = parse_claims(found)
    except TokenInvalid:
        return
    head, body, tail = token.split(b".")
    assert encoded(found.payload, found.signature) == body + b"." + tail
    header = _decoded(head)
    assert encoded(header) == head
    assert found.signing_input == head + b"." + body
    said = json.loads(header.decode())
    assert (found.algorithm, found.kid) == (said["alg"], said.get("kid"))
    assert not {"crit", "b64", "zip", "enc"} & said.keys()
    assert claims == json.loads(found.payload.decode())


def _decoded(segment: bytes) -> bytes:
    return base64.urlsafe_b64decode(segment + b"==")


def jws_inside(data: bytes) -> None:
    parts = (*data.split(BREAK), b"", b"")[:3]
    jws(encoded(parts[0], parts[1], parts[2] or b"signature"))


class _Twice(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise _Twice
    return dict(pairs)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def reference(text: bytes) -> Any:
    """The standard library's reading, where it is the only one; ``ValueError`` for what is not JSON or has two."""
    value = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def objects(text: bytes) -> None:
    try:
        found = parse_object(text)
    except ValueError:
        return
    assert found == reference(text)
    assert _depth(found) <= MAX_DEPTH
    assert _most(found) <= MAX_MEMBERS


def messages(text: bytes) -> None:
    """Refused and accepted as by the reference, but for bounds, which no input here comes near."""
    large = {0: (LARGE % text,), 1: (DENSE % text,)}.get(len(text) % 16, ())  # a hundred times as dear
    for wrapped in (text, SMALL % text, *large):
        try:
            expected = reference(wrapped)
            bounded = _depth(expected) < 30 and _most(expected) < 900
        except (ValueError, RecursionError):
            _is_refused(lambda wrapped=wrapped: parse_message(wrapped))
            continue
        if bounded:
            assert parse_message(wrapped) == expected


SMALL = b'{"a": %s}'
LARGE = b'{"pad": "' + b"x" * 70_000 + b'", "a": %s}'
_MANY = b'{"abcdef": 1, "b": {"c": 2}},' * 400
DENSE = b"[" + _MANY + b"%s," + _MANY + b"0]"


def _is_refused(parse: Callable[[], Any]) -> None:
    try:
        parse()
    except ValueError:
        return
    raise AssertionError("accepted, and the reference does not")


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, (dict, list)) + max(map(_depth, inner), default=0)


def _most(value: Any) -> int:
    inner = list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    return max([len(value) if isinstance(value, dict) else 0, *map(_most, inner)])


def jsonrpc(data: bytes) -> None:
    """Every call that another reader finds is found, by the same name."""
    body, _, name = data.partition(BREAK)
    try:
        calls = read_calls(body)
    except RequestInvalid:
        return
    value = reference(body)
    said = [one for one in (value if isinstance(value, list) else [value]) if "method" in one]
    assert [call.method for call in calls] == [one["method"] for one in said]
    assert len(calls) <= MAX_BATCH
    for call, one in zip(calls, said, strict=True):
        assert 0 < len(call.method) <= MAX_METHOD
        assert call.id == one.get("id")
        if call.kind in ("tool", "prompt") and call.method in ("tools/call", "prompts/get"):
            assert call.name == one["params"]["name"]
    try:
        agree({b"mcp-name": name, b"mcp-method": calls[0].method.encode() if calls else b""}, calls)
    except RequestInvalid:
        return


def credentials(data: bytes) -> None:
    """One at most, and a part of what was sent."""
    authorization, _, rest = data.partition(BREAK)
    key, _, query = rest.partition(BREAK)
    headers = {b"authorization": authorization} if authorization else {}
    headers |= {b"x-api-key": key} if key else {}
    try:
        credential = read_credential(headers, query)
        assert not (authorization and key)
        text = check_form(credential)
        presented = match(credential, ROUTES)
    except CredentialMissing:
        assert not headers
        return
    except (RequestInvalid, TokenInvalid):
        return
    assert text.encode() in (authorization or key)
    assert presented.text == text
    assert presented.provider in ROUTES.providers
    assert match(credential, ROUTES, presented.provider) == presented


def key_sets(text: bytes) -> None:
    try:
        keys = parse_key_set(parse_object(text))
    except ValueError:
        return
    assert {key.kty for key in keys.keys} <= {"RSA", "EC", "OKP"}


def proofs(data: bytes) -> None:
    """Nobody here has the key, so that none holds."""
    for header in (data, encoded(*(*data.split(BREAK), b"", b"")[:2], b"s" * 64)):
        try:
            check_proof(header, ASKED, NOW, 60.0)
        except Refusal as refusal:
            assert refusal.status in (400, 401), refusal  # noqa: PT017
        else:
            raise AssertionError("a proof that nobody signed holds")


def introspection(text: bytes) -> None:
    """An answer that holds says so in so many words."""
    rules = IntrospectionRules(audiences=frozenset({"us"}), clients=None)
    try:
        answer = parse_object(text)
        active = is_active(answer)
        check_answer(answer, rules, NOW)
    except (ValueError, TokenInvalid):
        return
    said = json.loads(text.decode())
    assert active is (said["active"] is True)
    assert "us" in (said["aud"] if isinstance(said["aud"], list) else [said["aud"]])
    assert "cnf" not in said


def events(data: bytes) -> None:
    """Wherever it is cut, the same goes out; and where nothing is rewritten, what came in."""
    outs = []
    for size in (1, 7, len(data) or 1):
        stream = EventStream(lambda _: None, 1 << 20)
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        try:
            outs.append(b"".join([*map(stream.feed, chunks), stream.end()]))
        except EventTooLarge:
            return
    assert set(outs) == {data}


def redaction(data: bytes) -> None:
    """A token in any company is not printed."""
    token = auth0()
    text = data.decode("latin-1")
    assert token not in redact(f"{text} {token} {text}")


def uris(data: bytes) -> None:
    misspelt(data.decode("latin-1"))


def routing(data: bytes) -> None:
    """To a provider that is configured, or nowhere."""
    try:
        presented = match(Credential(data), ROUTES)
    except (RequestInvalid, TokenInvalid):
        return
    assert presented.provider in ROUTES.providers
    assert presented.text.encode() == data


# Refused, each for one reason alone: what is next to them might not be.
TWICE, LONELY = b'{"alg":"RS256","alg":"none"}', b'{"alg":"\\ud800"}'
TOKENS = (google().encode(), auth0().encode())
TARGETS = (
    Target("jws", jws, (*TOKENS, b"a.b.c", b"")),
    Target(
        "jws inside",
        jws_inside,
        (HEADER + BREAK + CLAIMS, HEADER[:-1] + b',"b64":false}' + BREAK + CLAIMS, TWICE + BREAK + CLAIMS),
    ),
    Target("json objects", objects, (HEADER, CLAIMS, KEYS, ACTIVE, TWICE, LONELY)),
    Target("json messages", messages, (CALL, BATCH, ANSWER, CLAIMS, b'"x"', b"[]", TWICE, LONELY, b"[NaN]")),
    Target("json-rpc", jsonrpc, (CALL + BREAK + b"add", BATCH, ANSWER, CALL + BREAK + b"=?base64?YWRk?=")),
    Target(
        "credentials",
        credentials,
        (
            b"Bearer " + TOKENS[0],
            BREAK + API_KEY.encode(),
            b"DPoP " + TOKENS[1],
            b"Bearer x" + BREAK + API_KEY.encode(),
            b"Bearer x" + BREAK + BREAK + b"api_key=1",
        ),
    ),
    Target("key sets", key_sets, (KEYS, b'{"keys":[' + CURVE + b"]}")),
    Target("dpop proofs", proofs, (PROOF_HEADER + BREAK + PROOF, encoded(PROOF_HEADER, PROOF, b"s" * 64))),
    Target("introspection", introspection, (ACTIVE, b'{"active":false}')),
    Target(
        "event streams", events, (b"event: message\ndata: {}\n\n", b"\xef\xbb\xbfid: 1\r\ndata: a\r\ndata: b\r\r\n:x\n")
    ),
    Target("redaction", redaction, (b"Authorization: Bearer x", b'{"token":"y"}')),
    Target("uris", uris, (b"notes://a/b?c#d", b"https://[::1]:80/%2e%2e/x")),
    Target("routing", routing, (*TOKENS, API_KEY.encode(), b"ya29.a", b"gho_" + b"a" * 36, b"a.b.c.d.e")),
)
