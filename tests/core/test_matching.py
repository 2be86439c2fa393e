from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core import base64url
from tenantry.core.apikeys import compose_key, digest
from tenantry.core.matching import OpaqueTokens, Presented, Routes, looks_like_another_kind, match
from tenantry.errors import ConfigurationError, Refusal, TokenInvalid
from tenantry.model import Credential

ISSUER = "https://acme.eu.auth0.com/"
ROUTES = Routes(
    frozenset({"google", "github", "auth0", "api_key"}), {ISSUER: "auth0"}, frozenset({digest(b"plain.key")})
)
OWN_KEY = compose_key("live", bytes(8), bytes(32))


def jwt(issuer: Any, **header: Any) -> str:
    parts = [json.dumps({"alg": "RS256", **header}), json.dumps({"iss": issuer})]
    return ".".join([*(base64url.encode(part.encode()).decode() for part in parts), "c2ln"])


def route(secret: str, hint: str | None = None, routes: Routes = ROUTES, source: str = "bearer") -> Presented:
    return match(Credential(secret.encode(), source), routes, hint)  # type: ignore[arg-type]


def refused(secret: str, hint: str | None = None, routes: Routes = ROUTES) -> str:
    with pytest.raises(Refusal) as caught:
        route(secret, hint, routes)
    return caught.value.reason


@pytest.mark.parametrize(
    ("secret", "provider"),
    [
        (OWN_KEY, "api_key"),
        ("mcpk_whatever", "api_key"),
        ("plain.key", "api_key"),
        ("ya29.a0AfB", "google"),
        ("ya29.a.b", "google"),
        ("ya29.a.b.c.", "google"),
        ("gho_abc", "github"),
        ("ghu_abc", "github"),
        ("ghp_abc", "github"),
        ("github_pat_abc", "github"),
        ("ghs_123_eyJh.eyJi.c2ln", "github"),
        (jwt(ISSUER), "auth0"),
    ],
)
def test_a_credential_is_shown_to_the_one_provider_it_belongs_to(secret: str, provider: str) -> None:
    presented = route(secret)
    assert (presented.provider, presented.text) == (provider, secret)


def test_what_the_x_api_key_header_holds_is_a_key_whatever_it_looks_like() -> None:
    for secret in ("ya29.abc", "gho_abc", jwt(ISSUER), "sk-abc"):
        assert route(secret, source="x-api-key").provider == "api_key"


@pytest.mark.parametrize("secret", ["ghr_abc", "1//0abc", "4/0abc", "AIzaSyAbc"])
def test_the_right_makers_wrong_kind_of_secret_is_refused_without_asking_anybody(secret: str) -> None:
    assert refused(secret) == "token_kind_refused"


@pytest.mark.parametrize(
    "secret", ["sk_live_a", "sk-proj-a", "xoxb-a", "AKIAABC", "glpat-a", "npm_a", "hf_a", "sk-a.b.c"]
)
def test_somebody_elses_secret_is_refused_without_asking_anybody(secret: str) -> None:
    assert refused(secret) == "foreign_secret"


@pytest.mark.parametrize("secret", ["GHO_abc", "Ya29.abc", "xgho_abc", "ya29", "gho", "mcpk-a", "a.b", "a.b.c.d"])
def test_what_resembles_a_known_form_goes_nowhere(secret: str) -> None:
    assert refused(secret) == "provider_not_configured"


@pytest.mark.parametrize("secret", ["a.b.c.d.e", "....", "A" * 32, "a-_" * 10 + "ab"])
def test_an_encrypted_or_old_opaque_token_is_refused_with_the_hint_how_to_mend_it(secret: str) -> None:
    assert refused(secret) == "token_encrypted"


@pytest.mark.parametrize(
    "issuer",
    [
        "https://acme.eu.auth0.com",
        "https://ACME.eu.auth0.com/",
        ISSUER + "/",
        ISSUER + "\u0000",
        "",
        None,
        1,
        True,
        [ISSUER],
        {ISSUER: 1},
        "https://evil.example/",
        "file:///etc/passwd",
        "http://169.254.169.254/",
    ],
)
def test_an_issuer_that_is_not_exactly_configured_belongs_to_nobody(issuer: Any) -> None:
    assert refused(jwt(issuer)) == "issuer_unknown"


def test_a_provider_that_is_not_configured_sees_nothing() -> None:
    routes = Routes(frozenset({"auth0"}), {ISSUER: "auth0"})
    for secret in ("ya29.abc", "gho_abc", OWN_KEY, "plain.key"):
        assert refused(secret, routes=routes) == "provider_not_configured"


def test_a_hint_may_only_agree() -> None:
    assert route(jwt(ISSUER), "auth0").provider == "auth0"
    for hint in ("google", "api_key", "", "AUTH0", "https://evil.example/", "auth0 "):
        assert refused(jwt(ISSUER), hint) == "provider_mismatch"


def test_a_jwt_arrives_with_its_unverified_claims_hidden() -> None:
    presented = route(jwt(ISSUER))
    assert presented.claims == {"iss": ISSUER}
    assert ISSUER not in repr(presented)


@pytest.mark.parametrize("key", ["ya29.x", "sk-x", "a.b.c", "a.b.c.d.e", "ghr_x"])
def test_a_plain_key_that_looks_like_a_token_is_recognized(key: str) -> None:
    assert looks_like_another_kind(key)


@pytest.mark.parametrize("key", ["abc", "a.b", "a.b.c.d", "9c1f-77"])
def test_a_plain_key_that_looks_like_nothing_else_is_fine(key: str) -> None:
    assert not looks_like_another_kind(key)


_SECRETS = (
    st.binary(max_size=80)
    | st.text(alphabet="ey.AJhbGci=_-$<{", max_size=60).map(str.encode)
    | st.builds(
        lambda header, payload: b".".join([base64url.encode(header), base64url.encode(payload), b"c2ln"]),
        st.sampled_from([b'{"alg":"RS256"}', b"{}", b"[]"]) | st.binary(max_size=30),
        st.sampled_from([json.dumps({"iss": ISSUER}).encode(), b'{"iss":[]}']) | st.binary(max_size=30),
    )
)


@given(_SECRETS, st.sampled_from(["bearer", "x-api-key"]), st.none() | st.text(max_size=5))
def test_any_bytes_are_routed_to_a_configured_provider_or_refused(secret: bytes, source: Any, hint: str | None) -> None:
    try:
        presented = match(Credential(secret, source), ROUTES, hint)
    except Refusal as refusal:
        assert refusal.status in (400, 401)  # noqa: PT017
    else:
        assert presented.provider in ROUTES.providers
        assert presented.text.encode() == secret


@given(st.text(alphabet="ab.", min_size=1, max_size=20))
def test_the_answer_does_not_depend_on_which_other_providers_there_are(secret: str) -> None:
    alone = Routes(frozenset({"api_key"}), {}, ROUTES.plain_keys)
    answers = []
    for routes in (ROUTES, alone):
        try:
            answers.append(route(secret, routes=routes).provider)
        except TokenInvalid as refusal:
            answers.append(refusal.reason)
    assert answers[0] == answers[1]


# --- Opaque tokens ----------------------------------------------------------------------------------------------------

ONE = OpaqueTokens({"acme_at_": "acme", "w.1": "wiki"})
NAMES = frozenset({"auth0", "acme", "wiki", "api_key"})
BY_PREFIX = Routes(NAMES, {ISSUER: "auth0"}, frozenset({digest(b"acme_at_is_a_plain_key")}), ONE)
WITH_OTHERS = Routes(NAMES, {ISSUER: "auth0"}, frozenset(), OpaqueTokens({"acme_at_": "acme"}, "wiki"))


@pytest.mark.parametrize(
    ("secret", "provider"),
    [
        ("acme_at_7Fjfp0ZBr1", "acme"),
        ("acme_at_", "acme"),
        ("acme_at_a.b.c", "acme"),
        ("acme_at_a.b.c.d.e", "acme"),
        ("w.1.2", "wiki"),
        ("acme_at_is_a_plain_key", "api_key"),
        (jwt(ISSUER), "auth0"),
    ],
)
def test_an_opaque_token_is_shown_to_the_provider_of_its_prefix(secret: str, provider: str) -> None:
    assert route(secret, routes=BY_PREFIX).provider == provider


@pytest.mark.parametrize("secret", ["acme_at", "ACME_AT_x", "xacme_at_x", "wX1abc", "A" * 43])
def test_what_resembles_a_prefix_goes_nowhere(secret: str) -> None:
    assert refused(secret, routes=BY_PREFIX) == "provider_not_configured"


@pytest.mark.parametrize("secret", ["A" * 32, "A" * 43, "a.b", "a.b.c.d", "-", "0/1+2="])
def test_what_has_no_known_form_is_shown_to_the_one_who_takes_all_others(secret: str) -> None:
    assert route(secret, routes=WITH_OTHERS).provider == "wiki"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("gho_abc", "provider_not_configured"),
        ("ya29.abc", "provider_not_configured"),
        ("ghr_abc", "token_kind_refused"),
        ("sk-abc", "foreign_secret"),
        ("a.b.c.d.e", "token_encrypted"),
        ("a.b.c", "token_malformed"),
        (jwt("https://evil.example/"), "issuer_unknown"),
    ],
)
def test_who_takes_all_others_is_shown_nothing_that_has_a_known_form(secret: str, reason: str) -> None:
    assert refused(secret, routes=WITH_OTHERS) == reason


@pytest.mark.parametrize(
    "prefix", ["", "ab", "a b", "a" * 65, "eyJ", "eyJhbGci", "ewo", "gho_", "ghu_x", "ya29.", "mcpk_", "mcp", "sk-x"]
)
def test_a_prefix_that_says_nothing_or_is_somebody_elses_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^The prefix '.*' of 'acme' is "):
        OpaqueTokens({prefix: "acme"})


def test_two_prefixes_of_which_one_begins_with_the_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="one begins with the other"):
        OpaqueTokens({"acme_": "acme", "acme_at_": "wiki"})


@given(st.text(alphabet="ew.A_at0", min_size=1, max_size=16), st.permutations(["acme_at_", "w.1", "wat_", "Ae0"]))
def test_the_order_of_prefixes_never_matters(text: str, order: list[str]) -> None:
    names = {prefix: prefix.upper() for prefix in order}
    assert OpaqueTokens(names).provider_of(text) == OpaqueTokens(dict(sorted(names.items()))).provider_of(text)
