"""MCP_HTTP_CUSTOM_PROVIDERS: what is loaded, what must be stated before it is on, and what becomes of mistakes in code
that is not ours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.support import Door, World

from tenantry.assemble import assemble
from tenantry.errors import ConfigurationError
from tenantry.observations import InternalError, ProviderFailed
from tenantry.settings import Settings
from tenantry.testing import NOW

pytestmark = pytest.mark.anyio
SECRET = "badge_a-secret-that-nobody-may-read"
_numbers = count()
HEAD = """
import asyncio
from tenantry.errors import *
from tenantry.provider import *

def make(settings, tools):
    return Badges(settings, tools)

class Badges(Provider):
    prefixes = ("badge_",)

    def __init__(self, settings, tools):
        self.settings, self.tools = settings, tools
"""
GOOD = "return VerifiedClaims(self.tools.name, 'access_token', '17', {}, None)"
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package where Python finds it, with the metadata that pip writes."""

    def put(source: str, name: str = "badge", made_by: str = "make") -> Path:
        number = next(_numbers)
        folder, module = tmp_path / f"site{number}", f"badges_{number}"
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tenantry.providers]\n{name} = {module}:{made_by}\n")
        monkeypatch.syspath_prepend(folder)
        return folder

    yield put
    for module in [name for name in sys.modules if name.startswith("badges_")]:
        del sys.modules[module]


def verifying(body: str) -> str:
    lines = "".join(f"\n        {line}" for line in body.splitlines())
    return f"{HEAD}\n    async def verify(self, presented):{lines}\n"


def a_door(world: World, *, only: tuple[str, ...] = (), **settings: Any) -> Door:
    return world.door(only=only, **{"custom_providers": {"badge": {}}, **settings})


def refused(world: World, **settings: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        a_door(world, **settings)
    return str(caught.value)


# --- What is loaded ---------------------------------------------------------------------------------------------------


async def test_it_is_given_its_own_settings_alone_and_cannot_change_them(world: World, install: Install) -> None:
    install(
        verifying("""
try:
    self.settings["more"] = 1
except TypeError:
    claims = {"name": self.settings["who"], "roles": sorted(self.settings)}
return VerifiedClaims(self.tools.name, "access_token", "17", claims, self.tools.clock.now() + 60)
""")
    )
    user = await a_door(world, custom_providers={"badge": {"who": "Ann"}}).admit(SECRET)
    assert (user.user_id, user.provider, user.name, user.roles) == ("badge:17", "badge", "Ann", {"who"})
    assert user.expires_at == NOW + 60


async def test_one_that_is_not_installed_is_refused_with_those_that_are(world: World, install: Install) -> None:
    install(verifying(GOOD), name="other")
    assert "'badge' is not installed (entry points of the group tenantry.providers: other)" in refused(world)


async def test_two_packages_with_one_name_are_refused(world: World, install: Install) -> None:
    install(verifying(GOOD))
    install(verifying(GOOD))
    assert "is offered by several packages" in refused(world)


@pytest.mark.parametrize("name", ["Badge", "google", "auth0", "github", "apikey", "api_key", "", "x" * 33, "a:b"])
async def test_a_name_that_cannot_be_a_provider_s_is_refused(world: World, name: str) -> None:
    assert repr(name) in refused(world, custom_providers={name: {}})


async def test_the_name_of_an_entry_of_the_oidc_providers_is_taken(world: World, install: Install) -> None:
    install(verifying(GOOD), name="okta")
    entries = world.idp.issuers.entries("okta")
    assert "'okta' is the name of another" in refused(world, custom_providers={"okta": {}}, oidc_providers=entries)


@pytest.mark.parametrize("value", ["[]", "{}", '{"badge": 1}', '{"badge": null}', "badge"])
async def test_anything_but_an_object_of_objects_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("MCP_HTTP_ENVIRONMENT", "development")
    monkeypatch.setenv("MCP_HTTP_CUSTOM_PROVIDERS", value)
    with pytest.raises(ConfigurationError, match="MCP_HTTP_CUSTOM_PROVIDERS"):
        Settings()


@pytest.mark.parametrize(
    ("source", "made_by", "words"),
    [
        ("raise ValueError('a secret')", "make", "(ValueError)"),
        ("def make(settings, tools): raise KeyError('a secret')", "make", "(KeyError)"),
        ("def make(settings, tools): raise SystemExit('a secret')", "make", "(SystemExit)"),
        ("def make(settings): ...", "make", "(TypeError)"),
        ("def make(settings, tools): ...", "make", "returned something else"),
        ("def make(settings, tools): ...", "absent", "(AttributeError)"),
        ("import nobody_has_this", "make", "(ModuleNotFoundError)"),
    ],
)
async def test_one_that_cannot_be_made_stops_the_server_with_one_sentence(
    world: World, install: Install, source: str, made_by: str, words: str
) -> None:
    install(source, made_by=made_by)
    sentence = refused(world)
    assert sentence.startswith("MCP_HTTP_CUSTOM_PROVIDERS: 'badge' ")
    assert words in sentence
    assert "a secret" not in sentence


async def test_its_own_sentence_is_passed_on(world: World, install: Install) -> None:
    install("from tenantry.provider import *\ndef make(settings, tools): raise ConfigurationError('needs url.')")
    assert refused(world) == "MCP_HTTP_CUSTOM_PROVIDERS: 'badge' needs url."


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("prefixes = ()", "states neither issuers nor prefixes"),
        ("prefixes = ['badge_']", "states prefixes that are no tuple"),
        ("prefixes = ('badge_', 7)", "states prefixes that are no tuple"),
        ("issuers = 'https://badges.example'", "states issuers that are no tuple"),
        ("prefixes = ('gho_',)", "'gho_'"),
        ("prefixes = ('ya29.',)", "'ya29.'"),
        ("prefixes = ('mcpk_x',)", "'mcpk_x'"),
        ("prefixes = ('ghr_',)", "'ghr_'"),
        ("prefixes = ('sk_live_',)", "'sk_live_'"),
        ("prefixes = ('eyJ',)", "'eyJ'"),
        ("prefixes = ('b',)", "'b'"),
        ("prefixes = ('badge ',)", "'badge '"),
        ("prefixes = ('badge_', 'badge_x')", "begins with the other"),
        ("issuers = ('https://accounts.google.com',)", "Google's"),
        ("issuers = ('accounts.google.com',)", "Google's"),
    ],
)
async def test_a_route_that_is_not_its_own_is_refused(
    world: World, install: Install, statement: str, words: str
) -> None:
    install(f"{verifying(GOOD)}\n    {statement}\n")
    assert words in refused(world)


async def test_an_issuer_or_prefix_of_another_provider_is_refused(world: World, install: Install) -> None:
    install(f"{verifying(GOOD)}\n    issuers = ({world.idp.auth0.issuer!r}, {world.idp.issuers.okta.issuer!r})\n")
    assert world.idp.auth0.issuer in refused(world, only=("auth0",))
    assert world.idp.issuers.okta.issuer in refused(world, oidc_providers=world.idp.issuers.entries("okta"))
    install(verifying(GOOD), name="pass")
    both = {"badge": {}, "pass": {}}
    assert "Two providers are configured for the prefix 'badge_'" in refused(world, custom_providers=both)


# --- What its code may say --------------------------------------------------------------------------------------------

MISTAKES = {
    "an exception": "raise ValueError(presented.text)",
    "an end of the process": "raise SystemExit(presented.text)",
    "a lookup": "return {}[presented.text]",
    "endless recursion": "return await self.verify(presented)",
    "nothing": "return None",
    "a dictionary": "return {'subject': '17'}",
    "true": "return True",
    "another provider's name": "return VerifiedClaims('google', 'access_token', '17', {}, None)",
    "an API key": "return VerifiedClaims(self.tools.name, 'api_key', '17', {}, None)",
    "an end that is none": "return VerifiedClaims(self.tools.name, 'access_token', '17', {}, float('nan'))",
    "an end in words": "return VerifiedClaims(self.tools.name, 'access_token', '17', {}, 'tomorrow')",
    "claims that are no JSON": "return VerifiedClaims(self.tools.name, 'access_token', '17', {'x': {1}}, None)",
    "claims that are none": "return VerifiedClaims(self.tools.name, 'access_token', '17', None, None)",
    "a surrogate": "return VerifiedClaims(self.tools.name, 'access_token', '17', {'name': '\\ud800'}, None)",
    "a reason there is not": "raise TokenInvalid('because')",
    "a refusal of another kind": "raise OverQuota('user_quota')",
    "an error of ours": "raise InternalFailure('internal_failure')",
    "a configuration error": "raise ConfigurationError(presented.text)",
    "a cancelled task of its own": "await asyncio.wait_for(asyncio.sleep(9), 0)",
}


@pytest.mark.parametrize("what", MISTAKES)
async def test_a_mistake_in_its_code_is_a_503_that_is_told_and_gives_nothing_away(
    world: World, install: Install, what: str
) -> None:
    install(verifying(MISTAKES[what]))
    door = a_door(world)
    for _ in range(2):  # never remembered
        refusal = await door.refuse(SECRET)
        assert (refusal.status, refusal.reason) == (503, "provider_unavailable")
        assert refusal.retry_after
    told = world.seen.of(ProviderFailed)
    assert {(seen.provider, seen.endpoint) for seen in told} == {("badge", "verify")}
    assert len(world.seen.of(InternalError)) == 2
    assert SECRET not in repr(world.seen.seen)


async def test_an_answer_that_never_comes_is_a_503_at_the_deadline(
    world: World, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenantry.providers.custom.DEADLINE", 0.05)
    install(verifying("await asyncio.Event().wait()"))
    assert await a_door(world).verdict(SECRET) == (503, "provider_unavailable")
    assert [seen.kind for seen in world.seen.of(ProviderFailed)] == ["timeout"]


@pytest.mark.parametrize(
    ("raised", "status", "reason"),
    [
        ("TokenInvalid('token_rejected')", 401, "token_rejected"),
        ("Forbidden('domain_not_allowed')", 403, "domain_not_allowed"),
        ("Unavailable('provider_rate_limited', retry_after=7)", 503, "provider_rate_limited"),
    ],
)
async def test_its_refusals_are_its_own(world: World, install: Install, raised: str, status: int, reason: str) -> None:
    install(verifying(f"raise {raised}"))
    assert await a_door(world).verdict(SECRET) == (status, reason)
    assert world.seen.of(InternalError) == []


@pytest.mark.parametrize("subject", ["", "a\\nb", "x" * 256, None, 7])
async def test_a_subject_that_cannot_name_anybody_is_refused(world: World, install: Install, subject: Any) -> None:
    literal = f"'{subject}'" if isinstance(subject, str) else subject
    install(verifying(f"return VerifiedClaims(self.tools.name, 'access_token', {literal}, {{}}, None)"))
    assert await a_door(world).verdict(SECRET) == (401, "subject_invalid")


@pytest.mark.parametrize("cnf", [{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}, {"x5t#S256": "x"}, "x"])
async def test_a_credential_that_is_bound_to_a_key_is_refused_without_its_proof(
    world: World, install: Install, cnf: Any
) -> None:
    install(verifying(f"return VerifiedClaims(self.tools.name, 'access_token', '17', {{'cnf': {cnf!r}}}, None)"))
    assert await a_door(world).verdict(SECRET) == (401, "sender_constrained")


async def test_what_it_says_has_expired_is_refused_and_never_remembered_past_its_end(
    world: World, install: Install
) -> None:
    install(verifying(f"return VerifiedClaims(self.tools.name, 'access_token', '17', {{}}, {NOW + 60})"))
    door = a_door(world)
    assert await door.admit(SECRET)
    world.clock.advance(60 + 30)
    assert await door.verdict(SECRET) == (401, "token_expired")


async def test_no_claim_puts_anybody_into_another_provider_s_tenant_or_name(world: World, install: Install) -> None:
    """Ann of Google is in acme_example by her Workspace; a badge that claims all of that is not."""
    ann = await world.door(only=("google",)).admit(world.idp.google.id_token("ann"))
    claims = {
        "sub": ann.subject, "iss": "https://accounts.google.com", "hd": "acme.example", "email": "ann@acme.example",
        "email_verified": True, "tenant_id": ann.tenant_id, "user_id": ann.user_id, "provider": "google",
        "domain": "acme.example", "organization": ann.tenant_id,
    }  # fmt: skip
    install(verifying(f"return VerifiedClaims(self.tools.name, 'access_token', {ann.subject!r}, {claims!r}, None)"))
    user = await a_door(world, only=("google",)).admit(SECRET)
    assert user.user_id == f"badge:{ann.subject}"
    assert user.tenant_id != ann.tenant_id
    assert user.tenant_id.startswith("u___")


async def test_an_organization_is_this_provider_s_own_until_it_is_mapped(world: World, install: Install) -> None:
    claims = {"org_id": "acme"}
    install(verifying(f"return VerifiedClaims(self.tools.name, 'access_token', '17', {claims}, None)"))
    assert (await a_door(world).admit(SECRET)).tenant_id.startswith("org___")
    mapped = a_door(world, tenant_mapping={"badge:acme": "acme"})
    assert (await mapped.admit(SECRET)).tenant_id == "acme"


@pytest.mark.parametrize("organization", [7, ["acme"], "", "a\\nb", "x" * 256])
async def test_an_organization_that_cannot_be_read_is_refused(
    world: World, install: Install, organization: Any
) -> None:
    literal = f"'{organization}'" if isinstance(organization, str) else organization
    install(verifying(f"return VerifiedClaims(self.tools.name, 'access_token', '1', {{'org_id': {literal}}}, None)"))
    assert await a_door(world).verdict(SECRET) == (401, "claims_malformed")


async def test_what_its_code_keeps_and_changes_later_changes_nobody(world: World, install: Install) -> None:
    install(
        verifying("""
self.kept = getattr(self, "kept", {"roles": ["reader"]})
verified = VerifiedClaims(self.tools.name, "access_token", "17", self.kept, None)
asyncio.get_running_loop().call_soon(self.kept["roles"].append, "owner")
return verified
""")
    )
    door = a_door(world)
    for _ in range(3):
        assert (await door.admit(SECRET)).roles == {"reader"}
        await asyncio.sleep(0)


async def test_signed_tokens_have_the_checks_of_the_built_in_providers(world: World, install: Install) -> None:
    issuer = world.idp.issuers.generic
    install(f"""
from tenantry.provider import *

class Ours(Provider):
    def __init__(self, url, tools):
        self.issuers = ({issuer.issuer!r},)
        self.tokens = tools.signed_tokens(issuers=self.issuers, audiences=[{issuer.audience!r}], keys_url=url)
        self.verify, self.start, self.aclose = self.tokens.verify, self.tokens.start, self.tokens.aclose

def make(settings, tools):
    return Ours(settings["keys"], tools)
""")
    door = a_door(world, custom_providers={"badge": {"keys": issuer.keys_url}})
    assert (await door.admit(issuer.access_token("ann"))).provider == "badge"
    for changes, reason in {
        ("aud", "https://elsewhere.example"): "audience_mismatch",
        ("exp", int(NOW) - 60): "token_expired",
        ("cnf", "bound"): "sender_constrained",
    }.items():
        assert await door.verdict(issuer.access_token("ann", **dict([changes]))) == (401, reason)


async def test_it_asks_nobody_over_plain_http_outside_of_this_machine(world: World, install: Install) -> None:
    install(verifying("await self.tools.client.ask('badges', HttpRequest('GET', 'http://badges.example/'))"))
    assert await a_door(world).verdict(SECRET) == (503, "provider_unavailable")
    assert [seen.kind for seen in world.seen.of(ProviderFailed)] == ["insecure_url"]


async def test_one_that_fails_to_start_or_to_close_keeps_nobody_else_from_it(world: World, install: Install) -> None:
    broken = "def start(self): raise ValueError\n    async def aclose(self): raise ValueError\n"
    install(f"{verifying(GOOD)}\n    {broken}")
    door = a_door(world, only=("google",))
    door.made.start()
    assert await door.admit(world.idp.google.id_token("ann"))
    await door.made.aclose()
    assert [(seen.provider, seen.endpoint) for seen in world.seen.of(ProviderFailed)] == [
        ("badge", "start"),
        ("badge", "close"),
    ]


async def test_a_reload_makes_it_anew_when_its_settings_change_and_only_then(world: World, install: Install) -> None:
    install(verifying("return VerifiedClaims(self.tools.name, 'access_token', self.settings['who'], {}, None)"))
    first = a_door(world, custom_providers={"badge": {"who": "ann"}})
    assert (await first.admit(SECRET)).user_id == "badge:ann"
    same = assemble(
        world.settings(only=(), custom_providers={"badge": {"who": "ann"}}, token_cache_ttl=60), before=first.made
    )
    assert same.gate.providers["badge"] is first.gate.providers["badge"]
    other = assemble(world.settings(only=(), custom_providers={"badge": {"who": "bob"}}), before=same)
    assert (await Door(other).admit(SECRET)).user_id == "badge:bob"
    await other.aclose()


async def test_its_callers_are_not_admitted_once_it_is_switched_off(world: World, install: Install) -> None:
    install(verifying(GOOD))
    first = a_door(world, only=("google",))
    assert await first.admit(SECRET)
    after = assemble(world.settings(only=("google",)), before=first.made)
    assert await Door(after).verdict(SECRET) == (401, "provider_not_configured")
    await after.aclose()


def test_the_settings_do_not_print_what_it_is_given(install: Install) -> None:
    install(verifying(GOOD))
    settings = Settings(environment="development", custom_providers={"badge": {"token": SECRET}})
    assert SECRET not in repr(settings)


async def test_a_hint_cannot_send_another_credential_to_it(world: World, install: Install) -> None:
    install(verifying(GOOD))
    door = a_door(world, only=("google",))
    token = world.idp.google.id_token("ann")
    assert (await door.refuse(token, "badge")).reason == "provider_mismatch"
    assert (await door.refuse(SECRET, "google")).reason == "provider_mismatch"
