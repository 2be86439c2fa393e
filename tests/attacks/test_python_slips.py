"""What goes wrong in Python in particular: facts section 21 N and L."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.tokens import ADMITTED, API_KEY, AUTH0, AUTH0_CLAIMS, Entrance, auth0, google

import tenantry
from tenantry.devidp import OMIT
from tenantry.model import MCPUserContext

SOURCE = Path(tenantry.__file__).parent
GUARDS = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if not {"devidp", "demo", "cli"} & set(path.relative_to(SOURCE).parts) and path.name != "testing.py"
)


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    made.close()


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize(
    "verified", ["true", "false", "True", 1, 0, "1", None, [True], {"verified": True}, OMIT, "yes"]
)
def test_only_json_true_verifies_an_address_and_not_bool_of_a_string(entrance: Entrance, verified: Any) -> None:
    user = entrance.admit(google(email_verified=verified, hd=OMIT, email="ann@gmail.com"))
    assert user.email_verified is False


@pytest.mark.parametrize("value", ["admin", {"admin": True}, True, 1, "notes:*"])
@pytest.mark.parametrize("name", ["permissions", "roles"])
def test_a_string_is_not_iterated_into_permissions(entrance: Entrance, name: str, value: Any) -> None:
    assert entrance.verdict(auth0(**{name: value})) == "claims_malformed"


def test_an_entry_of_another_type_grants_nothing(entrance: Entrance) -> None:
    odd = [1, None, True, ["admin"], {"admin": 1}, "", "a b", "a\nadmin", 'a"b', "notes:read"]
    assert entrance.admit(auth0(permissions=odd, scope=OMIT)).permissions == {"notes:read"}


def test_both_sources_of_permissions_must_agree_and_an_empty_one_is_not_an_absent_one(entrance: Entrance) -> None:
    """``scope or permissions`` would fall through an empty list."""
    assert entrance.admit(auth0(permissions=[], scope="admin")).permissions == frozenset()
    assert entrance.admit(auth0(permissions=["admin"], scope="")).permissions == frozenset()
    assert entrance.admit(auth0(permissions=["a", "b"], scope="b c")).permissions == {"b"}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", " ", "\t", "\x00", "\x0b", "\x85"])
def test_a_dollar_does_not_match_before_a_line_break(entrance: Entrance, ending: str) -> None:
    for token in (google(), API_KEY):
        assert entrance.verdict(token) == ADMITTED
        assert entrance.verdict(token + ending) == "authorization_malformed"
    assert entrance.verdict(API_KEY + ending, b"x-api-key") == "authorization_malformed"


@pytest.mark.parametrize("path", GUARDS, ids=name_of)
def test_no_check_is_an_assert_that_optimization_removes(path: Path) -> None:
    assert [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)] == []


@pytest.mark.parametrize("path", GUARDS, ids=name_of)
def test_no_exception_is_swallowed_into_none(path: Path) -> None:
    """``except Exception: return None`` (or pass) says yes to somebody sooner or later."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler):
            continue
        broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        last = node.body[-1]
        silent = isinstance(last, ast.Pass) or (isinstance(last, ast.Return) and last.value is None)
        assert not (broad and silent), f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("path", GUARDS, ids=name_of)
def test_digests_are_compared_in_constant_time_cve_2025_59425(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare) and any(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops):
            operands = [ast.unparse(operand) for operand in (node.left, *node.comparators)]
            secret = [text for text in operands if text.endswith(("digest", "digest()", "secret", ".signature"))]
            assert secret == [], f"{name_of(path)}:{node.lineno}"


READERS = [path for path in GUARDS if path.parent.name in ("core", "providers") or path.parent == SOURCE]


@pytest.mark.parametrize("path", READERS, ids=name_of)
def test_what_others_wrote_is_not_read_by_the_json_module_that_guesses_encodings(path: Path) -> None:
    """``json.loads(bytes)`` reads UTF-16, UTF-32 and a BOM. Our own, from ``json.dumps``, it may read."""
    ours = {"model.py", "verdicts.py"}
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load")
    ]
    assert calls == [] or name_of(path) in ours


@pytest.mark.parametrize("path", GUARDS, ids=name_of)
def test_no_naive_or_local_time_decides_anything(path: Path) -> None:
    text = path.read_text()
    assert "utcnow" not in text
    assert "datetime.now()" not in text
    assert "mktime" not in text


def test_every_public_answer_is_awaited_before_it_is_believed() -> None:
    """A coroutine that nobody awaited is true."""
    from tenantry.gate import Gate
    from tenantry.validator import TokenValidator

    for function in (Gate.admit, Gate.validate, TokenValidator.validate_token):
        assert inspect.iscoroutinefunction(function)
        assert inspect.signature(function).return_annotation not in ("bool", "None")


def test_what_one_request_does_to_its_context_is_not_seen_by_the_next(entrance: Entrance) -> None:
    token = auth0(nested={"roles": ["reader"]})
    first = entrance.admit(token)
    entrance.admit(token).claims["nested"]["roles"].append("admin")
    first.claims["nested"]["roles"].append("owner")
    assert entrance.admit(token).claims["nested"]["roles"] == ["reader"]


def test_a_cached_context_equals_the_first_one_in_every_field(entrance: Entrance) -> None:
    tokens = [
        google(),
        auth0(),
        google(hd=OMIT, email=OMIT, name=OMIT),
        google(name=None, picture=5, email=["x"]),
        google(sub="\u6f22\u5b57", name="\U0001f600"),
        auth0(sub="a:b%", permissions=["b", "a"], roles=["Tenant Admin", "x"], scope="a b"),
        auth0(org_id=OMIT, scope=OMIT),
        auth0(big=2**53 - 1, float=1.5, deep=[{"a": [None, True]}], **{"": ""}),
    ]
    for token in tokens:
        cold, warm = entrance.admit(token), entrance.admit(token)
        for field in dataclasses.fields(MCPUserContext):
            one, other = getattr(cold, field.name), getattr(warm, field.name)
            assert (dict(one) == dict(other)) if field.name == "claims" else one == other and type(one) is type(other)


@pytest.mark.parametrize("ttl", [1, 300])
def test_a_proof_does_not_outlive_its_token(ttl: int) -> None:
    entrance = Entrance(token_cache_ttl=ttl)
    token = google(exp=int(entrance.clock.now()) + 10)
    assert entrance.verdict(token) == entrance.verdict(token) == ADMITTED
    entrance.clock.advance(41)
    assert entrance.verdict(token) == entrance.verdict(token) == "token_expired"
    entrance.close()


def test_tokens_that_begin_or_end_alike_are_not_mistaken_for_each_other_cve_2026_35030(entrance: Entrance) -> None:
    ann, ben = auth0(sub="auth0|ann"), auth0(sub="auth0|ben")
    assert ann[:40] == ben[:40]
    assert [entrance.admit(token).subject for token in (ann, ben, ann, ben)] == ["auth0|ann", "auth0|ben"] * 2


def test_one_secret_in_two_headers_is_two_credentials_cve_2026_35039(entrance: Entrance) -> None:
    token = google()
    assert entrance.verdict(token) == ADMITTED
    assert entrance.verdict(token, b"x-api-key") == "api_key_invalid"
    assert entrance.verdict(token) == ADMITTED


@pytest.mark.parametrize(
    "hint", ["", "auth0", "GOOGLE", "google ", "https://accounts.google.com", "google\0", "\ud800"]
)
def test_a_wrong_hint_is_refused_also_when_the_proof_is_remembered(entrance: Entrance, hint: str) -> None:
    token = google()
    assert entrance.verdict(token) == ADMITTED
    assert entrance.judge(token.encode(), hint) == "provider_mismatch"


def test_a_hint_and_a_token_are_not_told_apart_by_where_one_ends(entrance: Entrance) -> None:
    token = google(sub="888").encode()
    assert entrance.judge(token, "google") == ADMITTED
    assert entrance.verdict(b"=google\0" + token) == "authorization_malformed"
    assert entrance.judge(b"x\0" + token, "google") == "authorization_malformed"
    assert entrance.judge(token, "google\0") == "provider_mismatch"


def test_a_refusal_remembered_for_junk_does_not_touch_the_good_token(entrance: Entrance) -> None:
    token = google(sub="777")
    junk = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    assert entrance.verdict(junk) == entrance.verdict(junk) != ADMITTED
    assert entrance.verdict(token) == ADMITTED
    assert entrance.verdict(junk) != ADMITTED


def test_a_boolean_is_no_number_and_a_number_no_text(entrance: Entrance) -> None:
    assert entrance.verdict(google(iat=True)) == "claims_malformed"
    assert entrance.admit(google(name=5, picture=True, email=1)).email is None


def test_what_is_unprintable_or_endless_is_no_name(entrance: Entrance) -> None:
    user = entrance.admit(google(name="Ann\x1b[2J\nFAKE LOG LINE", picture="x" * 513))
    assert (user.name, user.picture) == (None, None)


def test_a_key_signed_by_us_is_still_only_what_its_claims_say(entrance: Entrance) -> None:
    """No claim name reaches the context unless its provider's module reads it."""
    smuggled = {
        "tenant_id": "victim",
        "user_id": "root",
        "provider": "google",
        "organization": "x",
        "domain": "victim.com",
    }
    user = entrance.admit(AUTH0.sign(AUTH0_CLAIMS | smuggled))
    assert (user.provider, user.subject) == ("auth0", AUTH0_CLAIMS["sub"])
    assert user.tenant_id.startswith("org___")
