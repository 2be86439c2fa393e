"""Who calls, who is refused, and what must come out of it.

Ann and Bob share a tenant because their Google Workspace says so; everybody else is on his own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tenantry.core.apikeys import key_id_of
from tenantry.core.tenancy import organization_tenant_id, personal_tenant_id, schema_name
from tenantry.devidp import DevIdp
from tenantry.devidp.faults import error
from tenantry.devidp.github import OTHER_CLIENT_ID as OTHER_GITHUB_APP
from tenantry.devidp.google import OTHER_CLIENT_ID as OTHER_GOOGLE_CLIENT

from .stack import API_KEY_TENANT, EDITORS, KEY_QUOTA, Stack

TOOLS = ("whoami", "list_notes", "add_note", "forget_notes")
_NOT_FOR_ALL = "forget_notes"
_UNITS = 20  # of a quota, as policy.toml has it


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is let in. ``provider``, ``user_id``, ``tenant_id``, ``schema`` and ``tools`` (those that he may
    use) are what must come out."""

    name: str
    credential: str
    token: str = field(repr=False)
    provider: str
    user_id: str
    tenant_id: str
    header: str = "Authorization"
    tools: tuple[str, ...] = TOOLS[:-1]

    @property
    def headers(self) -> dict[str, str]:
        """The credential as a client sends it."""
        return {self.header: self.token if self.header == "X-API-Key" else f"Bearer {self.token}"}

    @property
    def schema(self) -> str:
        return schema_name(self.tenant_id)

    @property
    def note(self) -> str:
        """What this caller writes down."""
        return f"a note by {self.name}"


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody who is not. ``status``, ``error`` (body) and ``reason`` are what must come out; ``during`` is a
    circumstance that lasts as long as the request."""

    case: str
    headers: Mapping[str, str] = field(repr=False)
    status: int
    error: str
    reason: str
    during: AbstractContextManager[object] = field(default_factory=contextlib.nullcontext, repr=False)


@dataclass(frozen=True, slots=True)
class Denied:
    """Somebody who is let in and wants more than he may have: of ``times`` calls of ``tool`` the last is refused.
    ``what`` says it to people. ``status``, ``error`` and ``reason`` are what must come out, and of each header in
    ``told`` what must be in it."""

    caller: str
    what: str
    headers: Mapping[str, str] = field(repr=False)
    tool: str
    times: int
    status: int
    error: str
    reason: str
    told: Mapping[str, str]


def callers(stack: Stack) -> list[Caller]:
    """One for each kind of credential."""
    idp = stack.idp
    ann, bob = _google_id(idp, "ann"), _google_id(idp, "bob")
    erin, octo = idp.people["erin"].at_auth0(), f"github:{idp.people['octo'].at_github().id}"
    globex = organization_tenant_id("auth0", erin.org_id or "")
    editor = idp.auth0.access_token("erin", scope="openid profile email", roles=[EDITORS])
    key = f"apikey:{key_id_of(stack.ci_key)}"
    return [
        Caller("ann", "Google ID token", idp.google.id_token("ann"), "google", ann, "acme_example"),
        Caller("bob", "Google access token", idp.google.access_token("bob"), "google", bob, "acme_example"),
        Caller("erin", "Auth0 JWT", editor, "auth0", f"auth0:{erin.sub}", globex, tools=TOOLS),
        Caller("octo", "GitHub token", idp.github.token("octo"), "github", octo, personal_tenant_id(octo)),
        Caller("ci", "API key", stack.ci_key, "api_key", key, API_KEY_TENANT, header="X-API-Key"),
    ]


def refusals(stack: Stack) -> Iterator[Refused]:
    """Made one by one, each when its turn comes."""
    google, auth0, github = stack.idp.google, stack.idp.auth0, stack.idp.github
    elsewhere = auth0.access_token("erin", audience="https://another-api.example")
    yield Refused("wrong audience", _bearer(elsewhere), 401, "invalid_token", "audience_mismatch")
    astray = google.id_token("ann", client_id=OTHER_GOOGLE_CLIENT)
    yield Refused("another Google client", _bearer(astray), 401, "invalid_token", "client_mismatch")
    stale = google.id_token("ann", expires_in=-120)
    yield Refused("expired token", _bearer(stale), 401, "invalid_token", "token_expired")
    borrowed = github.token("octo", client_id=OTHER_GITHUB_APP)
    yield Refused("another GitHub app", _bearer(borrowed), 401, "invalid_token", "token_rejected")
    both = {**_bearer(google.id_token("ann")), "X-API-Key": stack.ci_key}
    yield Refused("two credentials", both, 400, "invalid_request", "credential_duplicate")
    yield Refused("no credential", {}, 401, "unauthorized", "credential_missing")
    unseen, outage = google.access_token("bob"), stack.idp.faults.during("google", error())
    yield Refused(
        "provider down", _bearer(unseen), 503, "temporarily_unavailable", "provider_unavailable", during=outage
    )


def denials(stack: Stack, everybody: Sequence[Caller]) -> Iterator[Denied]:
    """A permission that is missing, then a quota that is used up."""
    bob = next(caller for caller in everybody if caller.name == "bob")
    scope = {"www-authenticate": 'scope="notes:admin"'}
    yield Denied(
        bob.name,
        f"{bob.name} calls {_NOT_FOR_ALL}, which takes notes:admin",
        bob.headers,
        _NOT_FOR_ALL,
        1,
        403,
        "insufficient_scope",
        "permission_missing",
        scope,
    )
    times = KEY_QUOTA.limit // _UNITS + 1
    yield Denied(
        "janitor",
        f"janitor calls {_NOT_FOR_ALL} again and again: {_UNITS} units each, of a key's {KEY_QUOTA.limit} a minute",
        {"X-API-Key": stack.janitor_key},
        _NOT_FOR_ALL,
        times,
        429,
        "too_many_requests",
        "api_key_quota",
        {
            "retry-after": "",
            "ratelimit": '"api_key";r=',
            "ratelimit-policy": f'"api_key";q={KEY_QUOTA.limit};w={KEY_QUOTA.window:.0f}',
            "content-type": "application/problem+json",
        },
    )


def _google_id(idp: DevIdp, person: str) -> str:
    return f"google:{idp.people[person].at_google().sub}"


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
