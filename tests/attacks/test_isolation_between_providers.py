"""Identity does not cross from one provider to another: not through caches, not through fallbacks, not by a name.

Over every provider there is, all of them configured at once. A provider joins by its line in
``tests/faults/subjects.py``.
"""

from __future__ import annotations

import pytest
from tests.attacks.everybody import admission, called, everybody, resigned, settings_of, token_of
from tests.faults.subjects import CALLS, KEYS, NONE, SUBJECTS, Subject
from tests.support import Door, World

from tenantry.assemble import assemble
from tenantry.core.apikeys import compose_key
from tenantry.core.jws import parse_claims, parse_jws
from tenantry.devidp.faults import Fault, error, redirect, status
from tenantry.errors import TokenInvalid
from tenantry.model import Credential, Tenant
from tenantry.testing import TokenMint

pytestmark = pytest.mark.anyio
SIGNED = [subject for subject in SUBJECTS if subject.source == KEYS]
ASKED = [subject for subject in SUBJECTS if subject.source == CALLS]
OTHERS = [subject for subject in SUBJECTS if subject.source != NONE]
every = pytest.mark.parametrize("subject", OTHERS, ids=lambda subject: subject.name)
every_signed = pytest.mark.parametrize("subject", SIGNED, ids=lambda subject: subject.name)


WORKLOADS = ("github-actions", "gitlab-ci", "kubernetes", "google-workload")


def own(subject: Subject) -> set[str]:
    """Who may be shown its credentials: nobody where keys prove them, else its provider."""
    return {subject.provider or ""} if subject.source == CALLS else set()


# --- No token reaches a host that is not its provider's ---------------------------------------------------------------


@every
async def test_a_token_is_shown_to_its_own_provider_or_to_nobody(world: World, subject: Subject) -> None:
    door, token = everybody(world), token_of(world, subject)
    admitted = await admission(door, token)
    assert admitted.user.provider == door.gate.providers[admitted.user.provider].name
    assert world.idp.calls.shown(token) == own(subject)
    assert {call.provider for call in world.idp.calls} <= {subject.provider}


@every
@pytest.mark.parametrize("fault", [error(), status(401), status(404), redirect(), status(429)], ids=lambda f: f.kind)
async def test_no_other_provider_is_tried_when_its_own_fails(world: World, subject: Subject, fault: Fault) -> None:
    door, token = everybody(world), token_of(world, subject)
    with world.idp.faults.during(subject.provider or "", fault):
        refusal = await door.refuse(token)
    assert refusal.status in (401, 503)
    assert world.idp.calls.shown(token) <= own(subject)
    assert {call.provider for call in world.idp.calls} <= {subject.provider}


@every
async def test_a_token_that_its_own_provider_refuses_is_not_shown_to_the_next(world: World, subject: Subject) -> None:
    door = everybody(world)
    token = token_of(world, subject)
    spoiled = token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]
    assert (await door.refuse(spoiled)).status == 401
    assert world.idp.calls.shown(spoiled) <= own(subject)
    assert {call.provider for call in world.idp.calls} <= {subject.provider}


@every
async def test_where_its_own_provider_is_not_configured_nobody_is_asked(world: World, subject: Subject) -> None:
    door, token = everybody(world, without=subject), token_of(world, subject)
    assert (await door.refuse(token)).status == 401
    assert len(world.idp.calls) == 0


@every
async def test_a_hint_never_shows_it_to_somebody_else(world: World, subject: Subject) -> None:
    door, token = everybody(world), token_of(world, subject)
    name = (await admission(door, token)).user.provider
    world.idp.calls.clear()
    for hint in door.gate.providers.keys() - {name, subject.provider}:  # Google's accounts are behind "google"
        assert (await door.refuse(token, hint)).reason == "provider_mismatch"
    assert len(world.idp.calls) == 0


@every
async def test_as_an_api_key_it_is_shown_to_nobody(world: World, subject: Subject) -> None:
    door, token = everybody(world), token_of(world, subject)
    with pytest.raises(Exception, match="api_key_invalid"):
        await door.gate.validate(Credential(token.encode(), "x-api-key"))
    assert len(world.idp.calls) == 0


@every_signed
async def test_one_issuer_s_name_under_every_other_issuer_s_key_is_refused(world: World, subject: Subject) -> None:
    door = everybody(world)
    for other in SIGNED:
        if other.provider != subject.provider:
            forged = resigned(world, subject, iss=issuer_of(world, other))
            assert (await door.refuse(forged)).status in (401, 503), other.name


# --- Equal token bytes under two configurations never share an entry --------------------------------------------------


@every
async def test_what_one_configuration_knows_of_a_token_another_does_not(world: World, subject: Subject) -> None:
    one, other = everybody(world), everybody(world, without=subject)
    token = token_of(world, subject)
    for _ in range(2):
        assert (await admission(one, token)).user
        assert (await other.refuse(token)).status == 401


@every
async def test_two_configurations_that_differ_in_anything_have_no_entry_in_common(
    world: World, subject: Subject
) -> None:
    token = Credential(token_of(world, subject).encode())
    secret = {"github_client_secret": "another-secret-of-the-same-client-0123456789"}
    doors = [everybody(world), *(everybody(world, **changes) for changes in (*CHANGES, secret))]
    keys = {door.made.verdicts.key(token, None) for door in doors}
    keys |= {doors[0].made.verdicts.key(token, hint) for hint in doors[0].gate.providers}
    assert len(keys) == len(doors) + len(doors[0].gate.providers)


CHANGES = (
    {"clock_skew": 29},
    {"tenant_mapping": {"acme.example": "acme"}},
    {"default_permissions": ("notes:read",)},
    {"api_key": "another-made-up-key-of-40-characters-678"},
    {"token_cache_ttl": 299},
)


# --- Two providers with the same subject are two users ----------------------------------------------------------------


@pytest.mark.parametrize("identifier", ["4815162342", "6f6e4f0a-3f1b-4f6e-9d53-8a4c8d9b1c11"])
async def test_one_subject_at_every_provider_is_a_user_of_each(world: World, identifier: str) -> None:
    door, users, tenants = everybody(world), {}, {}
    for subject in OTHERS:
        token = called(world, subject, identifier)
        if token is None:
            continue
        try:
            user, tenant, *_ = await admission(door, token)
        except TokenInvalid:  # an oid is a GUID, a workload is one of those listed
            continue
        assert user.user_id.startswith(f"{user.provider}:")
        assert users.setdefault(user.provider, user.user_id) == user.user_id
        if not tenant.named:  # a workload's is the one that the operator's rule names
            tenants[user.provider] = tenant
    assert len(users) >= len({subject.provider for subject in OTHERS if subject.provider not in WORKLOADS}) - 1
    assert len(set(users.values())) == len(users)
    assert len({tenant.tenant_id for tenant in tenants.values()}) == len(tenants)


async def test_a_subject_cannot_be_spelled_so_that_it_is_another_provider_s_user(world: World) -> None:
    door = everybody(world)
    entra = next(subject for subject in SIGNED if subject.provider == "entra")
    generic = next(subject for subject in SIGNED if subject.provider == "generic")
    user = (await admission(door, token_of(world, entra))).user
    taken = {user.user_id}
    for spelling in (
        user.user_id,
        user.subject,
        f"{user.subject}%",
        f":{user.user_id}",
        user.user_id.replace(":", "%3A"),
    ):
        other = (await admission(door, resigned(world, generic, sub=spelling))).user
        assert other.user_id not in taken
        taken.add(other.user_id)


# --- A tenant evidence of one provider is never honoured from another unless mapped -----------------------------------


async def tenants_of(door: Door, world: World) -> dict[str, Tenant]:
    """Each provider's tenant of one of its people."""
    found = {}
    for subject in OTHERS:
        user, tenant, *_ = await admission(door, token_of(world, subject))
        found[user.provider] = tenant
    return found


async def test_people_of_two_providers_are_never_in_one_tenant(world: World) -> None:
    """Several are for an organisation called "acme", and most know Ann by her address at acme.example. (A workload is
    in the tenant that the operator's rule for it names.)"""
    tenants = {name: one for name, one in (await tenants_of(everybody(world), world)).items() if not one.named}
    organizations = [str(one.evidence).partition(":")[2] for one in tenants.values() if one.source == "organization"]
    assert len(organizations) > len(set(organizations))
    assert len({tenant.tenant_id for tenant in tenants.values()}) == len(tenants)


async def test_an_organization_that_is_mapped_for_every_other_provider_is_not_for_this_one(world: World) -> None:
    tenants = await tenants_of(everybody(world), world)
    organizations = {name: one for name, one in tenants.items() if one.source == "organization"}
    assert len(organizations) > 5
    for subject in OTHERS:
        user = (await admission(everybody(world), token_of(world, subject))).user
        if user.provider not in organizations:
            continue
        organization = str(tenants[user.provider].evidence).partition(":")[2]
        mapping = {f"{name}:{organization}": "theirs" for name in organizations if name != user.provider}
        door = everybody(world, tenant_mapping={**mapping, "acme.example": "theirs"})
        assert (await admission(door, token_of(world, subject))).tenant == tenants[user.provider]


async def test_mapped_to_one_name_people_of_two_providers_share_a_tenant(world: World) -> None:
    tenants = await tenants_of(everybody(world), world)
    mappable = {name: str(one.evidence) for name, one in tenants.items() if one.source == "organization"}
    after = await tenants_of(everybody(world, tenant_mapping=dict.fromkeys(mappable.values(), "shared")), world)
    assert {after[name].tenant_id for name in mappable} == {"shared"}
    assert {one.tenant_id for name, one in after.items() if name not in mappable}.isdisjoint({"shared"})


@every_signed
async def test_the_claims_by_which_other_providers_say_the_tenant_say_nothing_here(
    world: World, subject: Subject
) -> None:
    """Google's hd, Entra's tid, Auth0's org_id, Clerk's o, Firebase's tenant: each means something at one provider."""
    door = everybody(world)
    tenants = await tenants_of(door, world)
    theirs = {one.tenant_id for name, one in tenants.items() if name != subject.provider and not one.named}
    foreign = {
        "hd": "acme.example",
        "tid": world.idp.issuers.entra.tid("ann"),
        "org_id": world.idp.people["erin"].at_auth0().org_id,
        "organization": "acme",
        "tenant": "acme",
        "tenant_id": "acme_example",
        "email": "ann@acme.example",
        "email_verified": True,
    }
    if subject.provider == "entra":  # where a directory that the key does not belong to is refused
        foreign.pop("tid")
    token = resigned(world, subject, **foreign)
    assert (await admission(door, token)).tenant.tenant_id not in theirs


# --- Changing configuration empties what depends on it ----------------------------------------------------------------


@every
async def test_a_reload_without_its_provider_ends_a_caller_who_was_remembered(world: World, subject: Subject) -> None:
    door, token = everybody(world), token_of(world, subject)
    await admission(door, token)
    assert (await admission(door, token)).cached
    bare = {**settings_of(world.idp, [one for one in SUBJECTS if one.provider != subject.provider])}
    after = assemble(world.settings(only=(), **bare), before=door.made)
    assert (await Door(after).refuse(token)).status == 401
    await after.aclose()


@every
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
async def test_after_any_change_a_caller_is_proved_anew(
    world: World, subject: Subject, change: dict[str, object]
) -> None:
    door, token = everybody(world), token_of(world, subject)
    await admission(door, token)
    calls = len(world.idp.calls)
    settings = {**settings_of(world.idp), **change}
    after = assemble(world.settings(only=(), **settings), before=door.made)
    assert not (await admission(Door(after), token)).cached
    if subject.source == CALLS:
        assert len(world.idp.calls) > calls
    await after.aclose()


@every
async def test_a_refusal_that_was_remembered_is_not_either(world: World, subject: Subject) -> None:
    """Refused without its provider, and at once let in with it."""
    without = settings_of(world.idp, [one for one in SUBJECTS if one.provider != subject.provider])
    door = world.door(only=(), **without)
    token = token_of(world, subject)
    assert (await door.refuse(token)).status == 401
    after = assemble(world.settings(only=(), **settings_of(world.idp)), before=door.made)
    assert (await admission(Door(after), token)).user
    await after.aclose()


# --- A token with an unknown issuer costs no call ---------------------------------------------------------------------


@every_signed
async def test_an_unknown_issuer_costs_no_call_whoever_signed(world: World, subject: Subject) -> None:
    door, stranger = everybody(world), TokenMint("isolation")
    issuer = issuer_of(world, subject)
    for unknown in (
        "https://evil.example",
        f"{issuer}/",
        issuer.upper(),
        f"{issuer}#",
        f"{world.idp.base_url}/new",
        "",
        7,
    ):
        for token in (resigned(world, subject, iss=unknown), stranger.sign({"iss": unknown, "sub": "1", "aud": "x"})):
            assert await door.verdict(token) == (401, "issuer_unknown"), unknown
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize(
    "secret",
    ["sk_live_0123456789", "xoxb-1-2", "ghr_" + "a" * 36, "glpat-0123456789", "AIza" + "a" * 35, "1//0abc", "4/0abc"],
)
async def test_a_secret_of_nobody_here_costs_no_call(world: World, secret: str) -> None:
    assert (await everybody(world).refuse(secret)).status == 401
    assert len(world.idp.calls) == 0


async def test_a_key_of_ours_that_is_unknown_costs_no_call(world: World) -> None:
    key = compose_key("live", b"no such.", bytes(32))
    assert await everybody(world).verdict(key) == (401, "api_key_invalid")
    assert len(world.idp.calls) == 0


def issuer_of(world: World, subject: Subject) -> str:
    return str(parse_claims(parse_jws(token_of(world, subject).encode()))["iss"])
