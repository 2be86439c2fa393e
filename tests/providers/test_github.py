"""GitHub tokens: the app-token check is the only proof, and trouble at GitHub is never the token's fault."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from tests.support import Door, World

from tenantry.devidp.github import OTHER_CLIENT_ID, checksummed
from tenantry.errors import ConfigurationError
from tenantry.observations import Misconfigured
from tenantry.ports import HttpRequest, HttpResponse
from tenantry.providers.github import GitHubSettings
from tenantry.testing import FakeFetch

pytestmark = pytest.mark.anyio


@pytest.fixture
def door(world: World) -> Door:
    return world.door(only=["github"])


def endpoints(world: World) -> list[str]:
    return [call.endpoint for call in world.idp.calls]


async def test_a_token_of_our_app_names_the_user_by_number_with_one_call(world: World, door: Door) -> None:
    user = await door.admit(world.idp.github.token("octo"))
    assert (user.user_id, user.subject, user.provider) == ("github:91827364", "91827364", "github")
    assert user.client_id == world.idp.github.client_id
    assert endpoints(world) == ["app_token"]


async def test_the_check_is_authenticated_as_our_app_and_carries_the_token_in_its_body(
    world: World, door: Door
) -> None:
    token = world.idp.github.token("octo")
    await door.admit(token)
    (call,) = world.idp.calls.of("github", "app_token")
    assert call.basic() == (world.idp.github.client_id, "devidp-github-client-secret-0123456789ab")
    assert call.json() == {"access_token": token}
    assert token not in call.path
    assert call.headers["user-agent"]
    assert call.headers["accept"] == "application/vnd.github+json"


async def test_a_token_of_a_github_app_ends_when_github_says(world: World, door: Door) -> None:
    user = await door.admit(world.idp.github.token("octo", prefix="ghu_"))
    assert user.expires_at == world.clock.now() + 8 * 3600


async def test_a_token_without_an_end_has_none(world: World, door: Door) -> None:
    assert (await door.admit(world.idp.github.token("octo"))).expires_at is None
    assert (await door.admit(world.idp.github.token("octo", prefix="ghu_", expires_in=math.inf))).expires_at is None


async def test_a_token_of_another_app_is_refused(world: World, door: Door) -> None:
    token = world.idp.github.token("octo", client_id=OTHER_CLIENT_ID)
    assert await door.verdict(token) == (401, "token_rejected")
    assert endpoints(world) == ["app_token"]


async def test_revoked_expired_and_invented_tokens_are_refused(world: World, door: Door) -> None:
    revoked = world.idp.github.token("octo")
    world.idp.github.revoke(revoked)
    expired = world.idp.github.token("octo", prefix="ghu_", expires_in=0)
    for token in (revoked, expired, checksummed("gho_")):
        assert await door.verdict(token) == (401, "token_rejected")


async def test_the_user_is_the_number_and_not_the_login(world: World, door: Door) -> None:
    before = await door.admit(world.idp.github.token("octo"))
    old = world.idp.github.login_of("octo")
    world.idp.github.rename("octo", "octavia")
    renamed = await door.admit(world.idp.github.token("octo"))
    stranger = await door.admit(world.idp.github.token(world.idp.github.recycle(old)))
    assert before.user_id == renamed.user_id != stranger.user_id
    assert before.tenant_id == renamed.tenant_id != stranger.tenant_id


async def test_scopes_become_permissions_and_a_github_app_has_none(world: World, door: Door) -> None:
    assert (await door.admit(world.idp.github.token("octo", scopes=["repo", "gist"]))).permissions == {"repo", "gist"}
    assert (await door.admit(world.idp.github.token("octo", prefix="ghu_"))).permissions == frozenset()


# Addresses


async def test_addresses_are_not_asked_for_while_no_tenant_needs_one(world: World, door: Door) -> None:
    user = await door.admit(world.idp.github.token("octo"))
    assert user.email is None
    assert user.tenant_id.startswith("u___")
    assert world.idp.calls.count("github", "user_emails") == 0


async def test_the_verified_primary_address_makes_the_tenant_where_the_operator_opts_in(world: World) -> None:
    door = world.door(only=["github"], github_tenant_from_email=True)
    user = await door.admit(world.idp.github.token("octo"))
    assert (user.email, user.email_verified, user.tenant_id) == ("octavia@studio.example", True, "studio_example")
    assert endpoints(world) == ["app_token", "user_emails"]


async def test_an_unverified_primary_address_is_no_evidence_and_no_other_takes_its_place(world: World) -> None:
    door = world.door(only=["github"], github_tenant_from_email=True)
    pat = await door.admit(world.idp.github.token("pat"))
    assert (pat.email, pat.email_verified) == (None, False)
    assert pat.tenant_id.startswith("u___")


@pytest.mark.parametrize("prefix", ["gho_", "ghu_"])
async def test_a_token_that_may_not_read_addresses_gets_a_tenant_of_its_own(world: World, prefix: str) -> None:
    door = world.door(only=["github"], github_tenant_from_email=True)
    user = await door.admit(world.idp.github.token("octo", prefix=prefix, scopes=["read:user"]))
    assert user.email is None
    assert user.tenant_id.startswith("u___")


@pytest.mark.parametrize("address", ["1+x@users.noreply.github.com", "a@x.gserviceaccount.com", "a@b@acme.example"])
async def test_an_address_that_a_service_made_is_no_evidence(world: World, address: str) -> None:
    user = await Scripted(world, emails=[{"email": address, "primary": True, "verified": True}]).door.admit("gho_x")
    assert user.tenant_id.startswith("u___")


@pytest.mark.parametrize("row", [{"primary": 1, "verified": True}, {"primary": True, "verified": "true"}])
async def test_primary_and_verified_must_be_true_and_nothing_like_it(world: World, row: dict[str, Any]) -> None:
    user = await Scripted(world, emails=[{"email": "a@acme.example"} | row]).door.admit("gho_x")
    assert (user.email_verified, user.tenant_id[:4]) == (False, "u___")


@pytest.mark.parametrize("body", [None, 5, {"message": "hello"}, "x", True])
async def test_a_200_for_addresses_that_is_no_list_is_an_outage(world: World, body: Any) -> None:
    refusal = await Scripted(world, emails=body).door.refuse("gho_x")
    assert (refusal.status, refusal.reason) == (503, "provider_unavailable")


@pytest.mark.parametrize("body", [b"[]} ", b'[],"list":[]', b'[],"x":1', b"", b"[", b'[{"email":"a","email":"b"}]'])
async def test_a_list_of_addresses_that_can_be_read_in_two_ways_is_an_outage(world: World, body: bytes) -> None:
    assert (await Scripted(world, raw_emails=body).door.refuse("gho_x")).status == 503


# Kinds of token


@pytest.mark.parametrize("prefix", ["ghp_", "github_pat_"])
async def test_personal_tokens_are_refused_without_a_call_because_no_app_owns_them(
    world: World, door: Door, prefix: str
) -> None:
    refusal = await door.refuse(world.idp.github.token("octo", prefix=prefix))
    assert (refusal.status, refusal.reason) == (401, "personal_token_refused")
    assert "MCP_HTTP_GITHUB_BINDING" in (refusal.hint or "")
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("binding", ["app", "none"])
async def test_installation_tokens_are_refused_whatever_their_form_and_the_binding(
    world: World, long: bool, binding: str
) -> None:
    door = world.door(only=["github"], github_binding=binding)
    token = world.idp.github.installation_token(long=long)
    assert await door.verdict(token) == (401, "installation_token_refused")
    assert len(world.idp.calls) == 0


async def test_refresh_tokens_are_refused_without_a_call(world: World, door: Door) -> None:
    assert await door.verdict(world.idp.github.token("octo", prefix="ghr_")) == (401, "token_kind_refused")
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize("prefix", ["gho_", "ghu_"])
async def test_a_wrong_checksum_is_refused_without_a_call(world: World, door: Door, prefix: str) -> None:
    good = world.idp.github.token("octo", prefix=prefix)
    for place in (4, 20, 33, 34, 39):
        wrong = good[:place] + ("a" if good[place] != "a" else "b") + good[place + 1 :]
        assert await door.verdict(wrong) == (401, "checksum_failed")
    assert len(world.idp.calls) == 0


async def test_the_checksum_filter_can_be_switched_off(world: World) -> None:
    door = world.door(only=["github"], github_checksum=False)
    assert await door.verdict("gho_" + "a" * 36) == (401, "token_rejected")
    assert endpoints(world) == ["app_token"]


async def test_a_token_of_another_length_is_not_judged_by_its_checksum(world: World, door: Door) -> None:
    for token in ("gho_" + "a" * 35, "ghu_" + "a" * 200, "gho_a.b.c"):
        assert await door.verdict(token) == (401, "token_rejected")
    assert endpoints(world) == ["app_token"] * 3


async def test_a_token_of_more_than_4_kib_is_refused_without_a_call(world: World, door: Door) -> None:
    assert await door.verdict("gho_" + "a" * 4093) == (401, "token_too_large")
    assert await door.verdict("gho_" + "a" * 4092) == (401, "token_rejected")
    assert endpoints(world) == ["app_token"]


# Trouble


@pytest.mark.parametrize("kind", ["error", "reset", "truncated", "html", "huge", "redirect", "not_json"])
async def test_an_outage_of_github_is_503_and_the_same_token_passes_once_it_is_over(
    world: World, door: Door, kind: str
) -> None:
    token = world.idp.github.token("octo")
    with world.idp.faults.during("github", kind):
        assert (await door.refuse(token)).status == 503
    assert (await door.admit(token)).subject == "91827364"
    assert world.idp.calls.count("devidp", "redirected") == 0


@pytest.mark.parametrize("code", [403, 429])
@pytest.mark.parametrize("secondary", [False, True])
@pytest.mark.parametrize("endpoint", ["app_token", "user_emails"])
async def test_a_rate_limit_is_503_with_the_time_github_named(
    world: World, code: int, secondary: bool, endpoint: str
) -> None:
    door = world.door(only=["github"], github_tenant_from_email=True)
    token = world.idp.github.token("octo")
    fault = {"code": code, "secondary": secondary, "retry_after": 42}
    with world.idp.faults.during("github", "rate_limited", endpoint=endpoint, **fault):
        refusal = await door.refuse(token)
    assert (refusal.status, refusal.reason, refusal.retry_after) == (503, "provider_rate_limited", 42)
    world.clock.advance(43)  # sooner it is not asked: who goes on asking is locked out for longer
    assert await door.admit(token)


async def test_a_lock_out_after_other_people_s_bad_tokens_is_503_for_the_good_one(world: World) -> None:
    door = world.door(only=["github"], github_binding="none")
    world.idp.github.lockout_after = 3
    for _ in range(3):
        assert (await door.refuse(checksummed("ghp_"))).status == 401
    good = world.idp.github.token("octo", prefix="ghp_")
    assert (await door.refuse(good)).status == 503
    world.idp.github.unlock()
    assert (await door.admit(good)).subject == "91827364"


async def test_our_wrong_secret_is_our_configuration_error_and_never_the_token_s_fault(world: World) -> None:
    door = world.door(only=["github"], github_client_secret="not-the-secret-that-github-knows")
    refusal = await door.refuse(world.idp.github.token("octo"))
    assert (refusal.status, refusal.reason) == (503, "provider_misconfigured")
    (seen,) = world.seen.of(Misconfigured)
    assert "MCP_HTTP_GITHUB_CLIENT_SECRET" in seen.hint
    assert "not-the-secret" not in f"{seen} {refusal.detail} {refusal.hint}"


async def test_when_github_hides_our_wrong_secret_behind_404_the_operator_is_told_once(world: World) -> None:
    world.idp.github.bad_basic_status = 404
    door = world.door(only=["github"], github_client_secret="not-the-secret-that-github-knows")
    for _ in range(12):
        assert (await door.refuse(world.idp.github.token("octo"))).status == 401
    assert len(world.seen.of(Misconfigured)) == 1


async def test_after_one_good_token_bad_ones_raise_no_suspicion(world: World, door: Door) -> None:
    await door.admit(world.idp.github.token("octo"))
    for _ in range(12):
        await door.refuse(checksummed("gho_"))
    assert world.seen.of(Misconfigured) == []


@pytest.mark.parametrize("code", [201, 202, 301, 302, 400, 403, 409, 429, 500, 502, 503])
async def test_every_other_status_of_the_check_is_an_outage(world: World, code: int) -> None:
    assert (await Scripted(world, code=code).door.refuse("gho_x")).status == 503


@pytest.mark.parametrize("code", [404, 422])
async def test_404_and_422_of_the_check_are_about_the_token(world: World, code: int) -> None:
    assert await Scripted(world, code=code).door.verdict("gho_x") == (401, "token_rejected")


@pytest.mark.parametrize("app", [{}, None, "ours"])
async def test_a_200_that_names_no_app_says_nothing_about_the_token(world: World, app: Any) -> None:
    refusal = await Scripted(world, app=app).door.refuse("gho_x")
    assert (refusal.status, refusal.reason) == (503, "provider_unavailable")


@pytest.mark.parametrize("app", [{"client_id": "other"}, {"client_id": None}, {"client_id": "OURS"}])
async def test_a_200_that_names_another_app_lets_nobody_in(world: World, app: Any) -> None:
    refusal = await Scripted(world, app=app).door.refuse("gho_x")
    assert refusal.reason == "audience_mismatch"


@pytest.mark.parametrize(
    "user",
    [
        None,
        {},
        {"id": "1"},
        {"id": True},
        {"id": None, "login": "x"},
        {"id": 1.0},
        {"id": 1, "type": "Bot"},
        {"id": 1, "type": "Organization"},
        {"id": 1, "type": None},
        [1],
    ],
)
async def test_a_200_that_names_no_person_lets_nobody_in(world: World, user: Any) -> None:
    assert (await Scripted(world, user=user).door.refuse("gho_x")).reason == "subject_invalid"


@pytest.mark.parametrize("expires_at", ["tomorrow", 1795003600, "2026-12-01T00:00:00", ["x"], ""])
async def test_an_end_that_is_no_moment_is_refused_rather_than_taken_for_never(world: World, expires_at: Any) -> None:
    assert (await Scripted(world, expires_at=expires_at).door.refuse("gho_x")).status in {401, 503}


async def test_a_client_id_cannot_reach_another_path(world: World) -> None:
    world.fetch = fetch = FakeFetch()
    door = world.door(
        only=(), github_enabled=True, github_client_id="../user?x=", github_client_secret="s", github_checksum=False
    )
    await door.refuse("gho_x")
    assert [request.url for request in fetch.requests] == ["https://api.github.com/applications/..%2Fuser%3Fx%3D/token"]


# Without the proof of the app


async def test_the_binding_none_accepts_tokens_of_any_app_by_asking_who_it_is(world: World) -> None:
    door = world.door(only=["github"], github_binding="none")
    for token in (
        world.idp.github.token("octo", client_id=OTHER_CLIENT_ID),
        world.idp.github.token("octo", prefix="ghp_"),
        world.idp.github.token("octo", prefix="github_pat_"),
    ):
        assert (await door.admit(token)).user_id == "github:91827364"
    assert endpoints(world) == ["user"] * 3


async def test_the_binding_none_needs_no_client(world: World) -> None:
    door = world.door(only=(), github_enabled=True, github_binding="none", github_api_url=world.idp.base_url)
    assert await door.admit(world.idp.github.token("octo"))


@pytest.mark.parametrize(
    ("code", "headers", "body", "status"),
    [
        (401, {}, "Bad credentials", 401),
        (403, {}, "Resource not accessible by integration", 401),
        (403, {"x-ratelimit-remaining": "0"}, "API rate limit exceeded", 503),
        (403, {"retry-after": "9"}, "", 503),
        (403, {}, "You have exceeded a secondary rate limit.", 503),
        (403, {}, "Maximum number of login attempts exceeded. Please try again later.", 503),
        (403, {}, "You have triggered an abuse detection mechanism.", 503),
        (404, {}, "Not Found", 503),
        (429, {}, "", 503),
        (500, {}, "", 503),
        (302, {"location": "https://evil.example"}, "", 503),
    ],
)
async def test_a_status_of_user_is_about_the_token_or_about_github(
    world: World, code: int, headers: dict[str, str], body: str, status: int
) -> None:
    answer = HttpResponse(code, headers, json.dumps({"message": body}).encode())
    world.fetch = FakeFetch({"https://api.github.com/user": answer})
    door = world.door(only=(), github_enabled=True, github_binding="none")
    assert (await door.refuse("ghp_x")).status == status


# Enterprise Server


async def test_an_enterprise_server_has_its_own_base_path_and_its_host_in_the_user_id(world: World) -> None:
    scripted = Scripted(world, base="https://git.acme.example/api/v3")
    user = await scripted.door.admit("gho_x")
    assert user.user_id == "github@git.acme.example:1"
    assert user.provider == "github"
    assert [request.url for request in scripted.fetch.requests] == [
        "https://git.acme.example/api/v3/applications/ours/token",
        "https://git.acme.example/api/v3/user/emails",
    ]


async def test_the_same_number_on_two_servers_is_two_people_with_two_tenants(world: World) -> None:
    public = await Scripted(world, emails=[]).door.admit("gho_x")
    server = await Scripted(world, emails=[], base="https://git.acme.example/api/v3").door.admit("gho_x")
    other = await Scripted(world, emails=[], base="https://git.acme.example:8443/api/v3").door.admit("gho_x")
    assert len({public.user_id, server.user_id, other.user_id}) == 3
    assert len({public.tenant_id, server.tenant_id, other.tenant_id}) == 3


async def test_the_development_provider_answers_below_the_enterprise_path(world: World) -> None:
    door = world.door(only=["github"], github_api_url=f"{world.idp.base_url}/api/v3/")
    await door.admit(world.idp.github.token("octo"))
    (call,) = world.idp.calls.of("github", "app_token")
    assert call.path.startswith("/api/v3/applications/")


def test_github_without_its_client_does_not_start() -> None:
    for settings in ({}, {"client_id": "x"}, {"client_secret": "x"}):
        with pytest.raises(ConfigurationError, match="MCP_HTTP_GITHUB_CLIENT_ID"):
            GitHubSettings(**settings)


class Scripted:
    """GitHub with the answers of a script in place of the network."""

    def __init__(
        self,
        world: World,
        *,
        code: int = 200,
        base: str = "https://api.github.com",
        emails: Any = (),
        raw_emails: bytes | None = None,
        **changes: Any,
    ) -> None:
        answer = {"app": {"client_id": "ours"}, "user": {"id": 1, "login": "ann"}, "scopes": [], "expires_at": None}
        rows = json.dumps(emails).encode() if raw_emails is None else raw_emails

        def check(request: HttpRequest) -> HttpResponse:
            return HttpResponse(code, {}, json.dumps(answer | changes).encode())

        self.fetch = FakeFetch(
            {f"{base}/applications/ours/token": check, f"{base}/user/emails": HttpResponse(200, {}, rows)}
        )
        world.fetch = self.fetch
        self.door = world.door(
            only=(),
            github_enabled=True,
            github_client_id="ours",
            github_client_secret="secret",
            github_api_url=base,
            github_tenant_from_email=True,
        )
