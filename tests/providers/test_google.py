"""Google tokens: what lets somebody in, and everything that looks like it and must not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support import Door, World

from tenantry.devidp import OMIT, GoogleAccount, Person
from tenantry.devidp.google import ISSUER_WITHOUT_SCHEME, OTHER_CLIENT_ID, ROBOT_EMAIL, ROBOT_ID
from tenantry.errors import ConfigurationError, Refusal
from tenantry.ports import HttpResponse
from tenantry.providers.google import GoogleSettings
from tenantry.testing import FakeFetch

pytestmark = pytest.mark.anyio
MOBILE = "123456789012-android.apps.googleusercontent.com"


@pytest.fixture
def door(world: World) -> Door:
    return world.door(only=["google"])


# ID tokens


async def test_an_id_token_of_our_client_names_the_user_by_sub_and_the_tenant_by_hd(world: World, door: Door) -> None:
    user = await door.admit(world.idp.google.id_token("ann"))
    assert (user.user_id, user.subject) == ("google:110248495921238986420", "110248495921238986420")
    assert (user.tenant_id, user.email, user.email_verified) == ("acme_example", "ann@acme.example", True)
    assert (user.name, user.client_id) == ("Ann Archer", world.idp.google.client_id)
    assert user.expires_at == world.clock.now() + 3600


async def test_both_issuer_spellings_are_google(world: World, door: Door) -> None:
    with_scheme = await door.admit(world.idp.google.id_token("ann"))
    without = await door.admit(world.idp.google.id_token("ann", issuer=ISSUER_WITHOUT_SCHEME))
    assert with_scheme.user_id == without.user_id
    assert with_scheme.tenant_id == without.tenant_id


@pytest.mark.parametrize(
    "issuer",
    [
        "https://accounts.google.com/",
        "http://accounts.google.com",
        "https://ACCOUNTS.google.com",
        "https://accounts.google.com.evil.example",
        "https://securetoken.google.com/our-project",
        "https://cloud.google.com/iap",
        ROBOT_EMAIL,
        ["https://accounts.google.com"],
        None,
    ],
)
async def test_any_other_issuer_is_refused_without_a_call_even_when_google_signed_it(
    world: World, door: Door, issuer: Any
) -> None:
    assert await door.verdict(world.idp.google.id_token("ann", iss=issuer)) == (401, "issuer_unknown")
    assert len(world.idp.calls) == 0


async def test_a_token_without_an_issuer_is_refused(world: World, door: Door) -> None:
    assert await door.verdict(world.idp.google.id_token("ann", iss=OMIT)) == (401, "issuer_unknown")


async def test_the_audience_must_be_ours_exactly(world: World, door: Door) -> None:
    ours = world.idp.google.client_id
    for audience in (OTHER_CLIENT_ID, ours + "x", "x" + ours, ours.upper(), ours[:-1], "", [], [ours, 7], None, {}):
        token = world.idp.google.id_token("ann", azp=ours, aud=audience)
        assert await door.verdict(token) == (401, "audience_mismatch"), audience


async def test_the_authorized_party_must_be_ours_too(world: World, door: Door) -> None:
    for party in (OTHER_CLIENT_ID, "", None, [world.idp.google.client_id], 7):
        token = world.idp.google.keys.sign(_claims(world, azp=party))
        assert await door.verdict(token) == (401, "client_mismatch"), party


async def test_a_mobile_client_of_our_project_may_ask_for_our_backend_once_it_is_listed(world: World) -> None:
    token = world.idp.google.id_token("ann", azp=MOBILE)
    assert await world.door(only=["google"]).verdict(token) == (401, "client_mismatch")
    both = world.door(only=["google"], google_client_id=f"{world.idp.google.client_id}, {MOBILE}")
    assert (await both.admit(token)).client_id == MOBILE


async def test_a_token_without_an_authorized_party_is_judged_by_its_audience(world: World, door: Door) -> None:
    token = world.idp.google.keys.sign(_claims(world))
    assert (await door.admit(token)).subject == "1"


async def test_service_accounts_that_mint_id_tokens_for_our_audience_are_refused(world: World, door: Door) -> None:
    token = world.idp.google.service_account_id_token(world.idp.google.client_id)
    assert await door.verdict(token) == (401, "service_account_refused")
    assert len(world.idp.calls) == 0


async def test_a_service_account_token_without_an_address_is_refused_by_its_authorized_party(
    world: World, door: Door
) -> None:
    token = world.idp.google.service_account_id_token(world.idp.google.client_id, email=OMIT, email_verified=OMIT)
    assert await door.verdict(token) == (401, "client_mismatch")


async def test_a_service_account_address_is_refused_even_with_our_client_as_its_authorized_party(
    world: World, door: Door
) -> None:
    ours = world.idp.google.client_id
    for address in (ROBOT_EMAIL, ROBOT_EMAIL.upper(), "x@appspot.gserviceaccount.com"):
        token = world.idp.google.service_account_id_token(ours, azp=ours, email=address)
        assert await door.verdict(token) == (401, "service_account_refused")


async def test_a_listed_service_account_is_let_in_with_a_tenant_of_its_own_never_its_address_domain(
    world: World,
) -> None:
    door = world.door(only=["google"], google_service_accounts=ROBOT_ID)
    user = await door.admit(world.idp.google.service_account_id_token(world.idp.google.client_id))
    assert user.user_id == f"google:{ROBOT_ID}"
    assert user.tenant_id.startswith("u___")


async def test_a_listed_service_account_still_needs_our_audience_and_google_s_signature(world: World) -> None:
    door = world.door(only=["google"], google_service_accounts=ROBOT_ID)
    elsewhere = world.idp.google.service_account_id_token(OTHER_CLIENT_ID)
    assert await door.verdict(elsewhere) == (401, "audience_mismatch")
    forged = world.idp.auth0.keys.sign(_claims(world, sub=ROBOT_ID), header={"kid": world.idp.google.keys.current.kid})
    assert await door.verdict(forged) == (401, "signature_invalid")


async def test_a_service_account_is_listed_by_its_id_because_addresses_are_made_again(world: World) -> None:
    door = world.door(only=["google"], google_service_accounts=ROBOT_EMAIL)
    token = world.idp.google.service_account_id_token(world.idp.google.client_id)
    assert await door.verdict(token) == (401, "service_account_refused")


@pytest.mark.parametrize("name", ["exp", "iat", "sub", "aud"])
async def test_what_an_id_token_must_say_is_obligatory(world: World, door: Door, name: str) -> None:
    refusal = await door.refuse(world.idp.google.id_token("ann", **{name: OMIT}))
    assert refusal.status == 401


@pytest.mark.parametrize("value", ["1795003600", True, None, [1795003600], -1, 10**13])
async def test_an_expiry_that_is_no_date_is_refused(world: World, door: Door, value: Any) -> None:
    assert await door.verdict(world.idp.google.id_token("ann", exp=value)) == (401, "claims_malformed")


async def test_an_expired_token_is_refused_after_the_skew_and_before_any_call(world: World, door: Door) -> None:
    late = world.idp.google.id_token("ann", expires_in=-29)
    too_late = world.idp.google.id_token("ann", expires_in=-30)
    assert (await door.admit(late)).subject == "110248495921238986420"
    world.idp.calls.clear()
    assert await door.verdict(too_late) == (401, "token_expired")
    assert len(world.idp.calls) == 0


async def test_a_token_from_the_future_is_refused_beyond_the_skew(world: World, door: Door) -> None:
    now = int(world.clock.now())
    assert await door.verdict(world.idp.google.id_token("ann", iat=now + 31)) == (401, "token_not_yet_valid")
    assert await door.verdict(world.idp.google.id_token("ann", nbf=now + 31)) == (401, "token_not_yet_valid")
    assert await door.admit(world.idp.google.id_token("ann", iat=now + 30, nbf=now + 30))


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "HS256", "none", "RS384"])
async def test_google_signs_with_rs256_and_nothing_else_is_looked_at(world: World, door: Door, algorithm: str) -> None:
    token = world.idp.google.keys.sign(_claims(world), alg=algorithm)
    refusal = await door.refuse(token)
    assert refusal.reason in {"algorithm_refused", "token_malformed"}
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize("kind", ["at+jwt", "dpop+jwt", "logout+jwt", "oauth-id-jag+jwt"])
async def test_a_google_jwt_of_another_type_is_refused(world: World, door: Door, kind: str) -> None:
    token = world.idp.google.keys.sign(_claims(world), header={"typ": kind})
    assert await door.verdict(token) == (401, "token_type_refused")


async def test_a_sender_constrained_token_is_refused_as_plain_bearer(world: World, door: Door) -> None:
    assert await door.verdict(world.idp.google.id_token("ann", cnf={"jkt": "x"})) == (401, "sender_constrained")


# Evidence for a tenant


async def test_a_consumer_account_gets_a_tenant_of_its_own(world: World, door: Door) -> None:
    carol = await door.admit(world.idp.google.id_token("carol"))
    assert carol.tenant_id.startswith("u___")


async def test_a_corporate_address_without_hd_is_no_evidence_for_the_company(world: World, door: Door) -> None:
    dave = await door.admit(world.idp.google.id_token("dave"))
    assert dave.email == "dave@corp.example"
    assert dave.tenant_id.startswith("u___")


async def test_a_secondary_domain_belongs_to_the_organisation_of_hd(world: World, door: Door) -> None:
    quinn = await door.admit(world.idp.google.id_token("quinn"))
    assert (quinn.email, quinn.tenant_id) == ("quinn@quill.example", "globex_example")


async def test_the_string_true_in_an_id_token_does_not_verify_an_address(world: World) -> None:
    door = world.door(only=["google"], personal_domains="shared")
    claimed = await door.admit(world.idp.google.id_token("carol", email_verified="true"))
    assert claimed.email_verified is False
    assert claimed.tenant_id.startswith("u___")
    assert (await door.admit(world.idp.google.id_token("carol"))).tenant_id == "gmail_com"


@pytest.mark.parametrize(
    "hd", ["", "acme", "acme.example.", "ACME_EXAMPLE.com", "\u0430cme.example", 7, ["acme.example"], "a@acme.example"]
)
async def test_an_hd_that_is_no_domain_is_refused_rather_than_ignored(world: World, door: Door, hd: Any) -> None:
    assert await door.verdict(world.idp.google.id_token("ann", hd=hd)) == (401, "claims_malformed")


async def test_hd_in_capitals_is_the_same_organisation(world: World, door: Door) -> None:
    assert (await door.admit(world.idp.google.id_token("ann", hd="ACME.Example"))).tenant_id == "acme_example"


# Access tokens


async def test_an_access_token_is_proved_by_tokeninfo_and_named_by_userinfo(world: World, door: Door) -> None:
    user = await door.admit(world.idp.google.access_token("bob"))
    assert (user.user_id, user.tenant_id) == ("google:110248495921238986421", "acme_example")
    assert (user.email, user.email_verified, user.name) == ("bob@acme.example", True, "Bob Baker")
    assert user.expires_at == world.clock.now() + 3600
    assert [call.endpoint for call in world.idp.calls] == ["tokeninfo", "userinfo"]


async def test_the_id_token_and_the_access_token_of_one_person_are_one_user(world: World, door: Door) -> None:
    opaque = await door.admit(world.idp.google.access_token("ann"))
    signed = await door.admit(world.idp.google.id_token("ann"))
    assert (opaque.user_id, opaque.tenant_id) == (signed.user_id, signed.tenant_id)


async def test_the_access_token_travels_in_a_header_never_in_a_url(world: World, door: Door) -> None:
    token = world.idp.google.access_token("bob")
    await door.admit(token)
    assert {call.credential for call in world.idp.calls} == {"bearer"}
    assert all(not call.query and token not in call.path for call in world.idp.calls)


async def test_an_access_token_of_another_app_is_refused_before_userinfo_is_asked(world: World, door: Door) -> None:
    token = world.idp.google.access_token("ann", client_id=OTHER_CLIENT_ID)
    assert await door.verdict(token) == (401, "audience_mismatch")
    assert [call.endpoint for call in world.idp.calls] == ["tokeninfo"]


async def test_a_service_account_s_access_token_is_refused(world: World, door: Door) -> None:
    assert await door.verdict(world.idp.google.service_account_access_token()) == (401, "audience_mismatch")


async def test_the_hosted_domain_of_an_access_token_comes_from_userinfo(world: World, door: Door) -> None:
    assert (await door.admit(world.idp.google.access_token("quinn"))).tenant_id == "globex_example"
    assert (await door.admit(world.idp.google.access_token("dave"))).tenant_id.startswith("u___")


async def test_an_unverified_address_in_tokeninfo_is_the_string_false_and_stays_unverified(world: World) -> None:
    world.idp.people.add(_person("eve", email="eve@gmail.com", verified=False))
    door = world.door(only=["google"], personal_domains="shared")
    user = await door.admit(world.idp.google.access_token("eve"))
    assert user.email_verified is False
    assert user.tenant_id.startswith("u___")


async def test_an_access_token_without_a_subject_is_unusable(world: World, door: Door) -> None:
    token = world.idp.google.access_token("ann", scopes=["email"])
    assert await door.verdict(token) == (401, "subject_invalid")


async def test_revoked_expired_and_invented_access_tokens_are_invalid(world: World, door: Door) -> None:
    revoked = world.idp.google.access_token("ann")
    world.idp.google.revoke(revoked)
    for token in (revoked, world.idp.google.access_token("ann", expires_in=0), "ya29.made-up"):
        assert await door.verdict(token) == (401, "token_rejected")


async def test_scopes_about_the_user_are_no_permissions(world: World, door: Door) -> None:
    token = world.idp.google.access_token("ann", scopes=["openid", "email", "profile", "https://mail.example/x"])
    assert (await door.admit(token)).permissions == {"https://mail.example/x"}


@pytest.mark.parametrize(
    "kind", ["1//0gRefreshToken", "4/0AuthorizationCode", "AIzaSyA-made-up-key-0123456789012345678"]
)
async def test_other_secrets_of_google_are_refused_without_a_call(world: World, door: Door, kind: str) -> None:
    assert await door.verdict(kind) == (401, "token_kind_refused")
    assert len(world.idp.calls) == 0


# Answers that Google's real service can give, word for word


class Scripted:
    """Google with the answers of a script in place of the network."""

    def __init__(self, world: World, **answers: Any) -> None:
        self.fetch = FakeFetch()
        for endpoint, answer in answers.items():
            url = {"tokeninfo": "https://oauth2.googleapis.com/tokeninfo"}.get(
                endpoint, "https://openidconnect.googleapis.com/v1/userinfo"
            )
            code, body = answer
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.fetch.answer[url] = HttpResponse(code, {}, raw)
        world.fetch = self.fetch
        self.door = world.door(only=(), google_client_id="ours")


def _info(world: World, **changes: Any) -> dict[str, Any]:
    info = {
        "azp": "ours",
        "aud": "ours",
        "sub": "1",
        "scope": "openid",
        "exp": str(int(world.clock.now()) + 3600),
        "email": "ann@gmail.com",
        "email_verified": "true",
    }
    return {name: value for name, value in (info | changes).items() if value is not None}


PERSON = {"sub": "1", "name": "Ann", "email": "ann@gmail.com", "email_verified": True}


async def test_the_addresses_asked_in_production_are_google_s_own(world: World) -> None:
    scripted = Scripted(world, tokeninfo=(200, _info(world)), userinfo=(200, PERSON))
    user = await scripted.door.admit("ya29.x")
    assert (user.user_id, user.email_verified) == ("google:1", True)
    assert [request.url for request in scripted.fetch.requests] == list(scripted.fetch.answer)


@pytest.mark.parametrize("value", ["false", "True", "1", "yes", True, 1, None])
async def test_only_the_exact_string_true_of_tokeninfo_verifies_an_address(world: World, value: Any) -> None:
    scripted = Scripted(world, tokeninfo=(200, _info(world, email_verified=value)), userinfo=(200, PERSON))
    assert (await scripted.door.admit("ya29.x")).email_verified is False


async def test_userinfo_of_another_subject_is_not_believed(world: World) -> None:
    for other in ({"sub": "2", "hd": "victim.example"}, {"hd": "victim.example"}, {"sub": 1, "hd": "victim.example"}):
        scripted = Scripted(world, tokeninfo=(200, _info(world)), userinfo=(200, other))
        assert await scripted.door.verdict("ya29.x") == (401, "subject_invalid")


async def test_an_authorized_party_in_tokeninfo_that_is_not_ours_is_refused(world: World) -> None:
    scripted = Scripted(world, tokeninfo=(200, _info(world, azp="theirs")), userinfo=(200, PERSON))
    assert await scripted.door.verdict("ya29.x") == (401, "client_mismatch")


@pytest.mark.parametrize("exp", ["", "soon", "-5", "1.5", 1795003600, None, "9" * 13])
async def test_an_expiry_of_tokeninfo_that_is_no_number_in_a_string_is_refused(world: World, exp: Any) -> None:
    scripted = Scripted(world, tokeninfo=(200, _info(world, exp=exp)), userinfo=(200, PERSON))
    assert await scripted.door.verdict("ya29.x") == (401, "claims_malformed")


async def test_an_expiry_of_tokeninfo_in_the_past_is_expired(world: World) -> None:
    scripted = Scripted(world, tokeninfo=(200, _info(world, exp="1000")), userinfo=(200, PERSON))
    assert await scripted.door.verdict("ya29.x") == (401, "token_expired")


@pytest.mark.parametrize("code", [400, 401])
async def test_400_and_401_mean_that_the_token_is_invalid(world: World, code: int) -> None:
    answer = {"error": "invalid_token", "error_description": "Invalid Value"}
    scripted = Scripted(world, tokeninfo=(code, answer))
    assert await scripted.door.verdict("ya29.x") == (401, "token_rejected")
    late = Scripted(world, tokeninfo=(200, _info(world)), userinfo=(code, answer))
    assert await late.door.verdict("ya29.x") == (401, "token_rejected")


@pytest.mark.parametrize("code", [201, 204, 301, 302, 403, 404, 408, 418, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("endpoint", ["tokeninfo", "userinfo"])
async def test_every_other_status_means_that_google_is_unavailable(world: World, code: int, endpoint: str) -> None:
    answers: dict[str, Any] = {"tokeninfo": (200, _info(world)), "userinfo": (200, PERSON)}
    scripted = Scripted(world, **(answers | {endpoint: (code, _info(world))}))
    refusal = await scripted.door.refuse("ya29.x")
    assert refusal.status == 503
    assert refusal.retry_after is not None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"x"', b"null", b'{"aud":"ours","aud":"ours"}', b"\xff\xfe", b'{"exp": NaN}']
)
async def test_a_200_that_cannot_be_read_in_one_way_is_an_outage_not_a_verdict(world: World, body: bytes) -> None:
    scripted = Scripted(world, tokeninfo=(200, body), userinfo=(200, PERSON))
    assert (await scripted.door.refuse("ya29.x")).status == 503
    late = Scripted(world, tokeninfo=(200, _info(world)), userinfo=(200, body))
    assert (await late.door.refuse("ya29.x")).status == 503


@pytest.mark.parametrize(
    "kind", ["error", "rate_limited", "reset", "truncated", "html", "huge", "redirect", "not_json"]
)
@pytest.mark.parametrize("endpoint", ["tokeninfo", "userinfo"])
async def test_an_outage_of_google_is_503_and_the_same_token_passes_once_it_is_over(
    world: World, door: Door, kind: str, endpoint: str
) -> None:
    token = world.idp.google.access_token("ann")
    with world.idp.faults.during("google", kind, endpoint=endpoint):
        refusal = await door.refuse(token)
    assert refusal.status == 503
    world.clock.advance(refusal.retry_after or 0)
    assert (await door.admit(token)).subject == "110248495921238986420"
    assert world.idp.calls.count("devidp", "redirected") == 0


async def test_google_s_retry_after_is_passed_on(world: World, door: Door) -> None:
    with world.idp.faults.during("google", "rate_limited", retry_after=17):
        refusal = await door.refuse(world.idp.google.access_token("ann"))
    assert (refusal.reason, refusal.retry_after) == ("provider_rate_limited", 17)


async def test_an_absurd_retry_after_is_bounded(world: World) -> None:
    for words, seconds in (("0", 1), ("999999999", 3600), ("-1", 5), ("soon", 5), ("1" * 40, 5)):
        scripted = Scripted(world)
        scripted.fetch.answer["https://oauth2.googleapis.com/tokeninfo"] = HttpResponse(
            429, {"retry-after": words}, b""
        )
        assert (await scripted.door.refuse("ya29.x")).retry_after == seconds, words


def test_google_without_a_client_id_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_GOOGLE_CLIENT_ID"):
        GoogleSettings(frozenset())


def _claims(world: World, **changes: Any) -> dict[str, Any]:
    now = int(world.clock.now())
    ours = world.idp.google.client_id
    return {"iss": "https://accounts.google.com", "aud": ours, "sub": "1", "iat": now, "exp": now + 60} | changes


def _person(key: str, *, email: str, verified: bool) -> Any:
    account = GoogleAccount("120000000000000000000", email, email_verified=verified)
    return Person(key=key, name="Eve Example", why="address not verified", google=account)


async def test_no_refusal_of_a_google_token_quotes_the_token(world: World, door: Door) -> None:
    token = world.idp.google.id_token("ann", client_id=OTHER_CLIENT_ID)
    refusal: Refusal = await door.refuse(token)
    words = f"{refusal!r} {refusal.description} {refusal.hint} {refusal.detail}"
    assert not any(part in words for part in (*token.split("."), OTHER_CLIENT_ID, "ann@"))
