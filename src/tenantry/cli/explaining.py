"""What the gate would say of one credential, step by step: the work behind ``tenantry token explain``.

Nothing is judged here. Every step is the function that serves requests, called in the gate's order (``gate.py``), and
the verdict is what they raise or return; a test holds it against the gate's own over many tokens, good and bad. What
requests leave behind is left out: no quota is spent, nothing is audited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..adapters.clock import SystemClock
from ..adapters.http import HttpFetch
from ..assemble import Assembly, assemble
from ..core.credentials import read_credential
from ..core.jws import UnverifiedToken, parse_claims, parse_jws
from ..core.matching import API_KEY, Presented, match
from ..errors import REASONS, Refusal, Unavailable
from ..model import Credential, Identity, MCPUserContext, Tenant
from ..observations import Misconfigured, Observation, ProviderCalled, ProviderFailed
from ..outside import Outside
from ..ports import Clock, FetchFailed, HttpRequest, HttpResponse
from ..providers.google import GoogleProvider
from ..providers.oidc import JwtVerifier
from ..settings import Settings
from .explained import about, shown

Outcome = Literal["passed", "refused", "unknown", "skipped"]
Verdict = Literal["valid", "refused", "undecided"]
# Requests would leave these behind, or would be answered differently for what others have used up.
_LEFT_OUT: Mapping[str, Any] = {
    "audit_sinks": None,
    "metrics": "off",
    "rate_limit_tenant": None,
    "rate_limit_user": None,
    "rate_limit_api_key": None,
    "rate_limit_anonymous": None,
    "rate_limit_store": "memory",
    "redis_url": None,
}
_NO_DATABASE: Mapping[str, Any] = {"database_connection_string": None, "direct_database_url": None, "databases": None}


@dataclass(frozen=True, slots=True)
class Step:
    """One check: its name, how it came out, the refusal's reason where there is one, and what was seen."""

    name: str
    outcome: Outcome
    reason: str | None
    text: str


@dataclass(slots=True)
class Explanation:
    """Everything that came to light. ``claims`` are the token's own words: unverified unless the signature passed."""

    verdict: Verdict = "undecided"
    refusal: Refusal | None = None
    provider: str | None = None
    token: UnverifiedToken | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    identity: Identity | None = None
    tenant: Tenant | None = None
    user: MCPUserContext | None = None
    granted: dict[str, list[str]] = field(default_factory=dict)
    suspicions: list[str] = field(default_factory=list)
    issuers: tuple[str, ...] = ()

    def step(self, name: str, outcome: Outcome, text: str, reason: str | None = None) -> None:
        self.steps.append(Step(name, outcome, reason, text))


class _Witness:
    """Keeps what providers answered, to be told beside the step that asked them."""

    calls = False

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.suspicions: list[str] = []

    def __call__(self, observation: Observation) -> None:
        if isinstance(observation, ProviderCalled):
            self.asked.append(f"{observation.endpoint} answered {observation.status}")
        elif isinstance(observation, ProviderFailed):
            self.asked.append(f"{observation.endpoint} gave no usable answer ({observation.kind})")
        elif isinstance(observation, Misconfigured):
            self.suspicions.append(observation.hint)


async def _no_network(request: HttpRequest) -> HttpResponse:
    raise FetchFailed("offline")


async def explain(
    settings: Settings,
    secret: bytes,
    *,
    source: Literal["bearer", "x-api-key"] = "bearer",
    hint: str | None = None,
    offline: bool = False,
    outside: Outside | None = None,
) -> Explanation:
    """Explain ``secret`` under ``settings``. ``offline`` opens no connection and never ends in "valid". ``outside``
    takes the place of the real clock and network; its observer is not used."""
    witness = _Witness()
    clock = SystemClock() if outside is None else outside.clock
    fetch = HttpFetch(allow_loopback_http=settings.development) if outside is None else outside.fetch
    changes = {**_LEFT_OUT, **(_NO_DATABASE if offline else {})}
    made = assemble(settings.model_copy(update=changes), Outside(clock, _no_network if offline else fetch, witness))
    blind = offline and settings.database_connection_string is not None
    try:
        return await _Explainer(made, clock, witness, offline=offline, blind=blind).explain(secret, source, hint)
    finally:
        await made.aclose()


class _Explainer:
    def __init__(self, made: Assembly, clock: Clock, witness: _Witness, *, offline: bool, blind: bool) -> None:
        self._gate, self._clock, self._witness = made.gate, clock, witness
        self._offline, self._blind = offline, blind
        self._told = Explanation()

    async def explain(self, secret: bytes, source: Literal["bearer", "x-api-key"], hint: str | None) -> Explanation:
        told = self._told
        try:
            await self._judge(secret, source, hint)
            told.verdict = "undecided" if self._offline else "valid"
        except Refusal as refusal:
            told.refusal = refusal
            told.verdict = "undecided" if isinstance(refusal, Unavailable) else "refused"
        told.suspicions = self._witness.suspicions
        return told

    async def _judge(self, secret: bytes, source: Literal["bearer", "x-api-key"], hint: str | None) -> None:
        told, gate = self._told, self._gate
        header = {b"authorization": b"Bearer " + secret} if source == "bearer" else {b"x-api-key": secret}
        credential = read_credential(header)
        self._peek(credential)
        routes = gate._routes
        told.issuers = tuple(sorted(routes.issuers))
        if self._blind:  # the database may hold keys, but it is not asked
            routes = replace(routes, providers=routes.providers | {API_KEY})
        presented = self._take("provider", lambda: match(credential, routes, hint))
        told.provider = presented.provider
        if self._blind and presented.provider == API_KEY:
            told.step("key", "skipped", "the key was not looked up in the database (--offline)")
            return
        provider = gate.providers[presented.provider]
        verifier = getattr(provider, "jwt", None)
        if isinstance(provider, GoogleProvider):
            verifier = provider.verifier_for(presented.claims or {})
        if presented.token is not None and isinstance(verifier, JwtVerifier):
            await self._look_into(presented, presented.token, verifier)
            verified = await provider.verify(presented)  # the word that counts
        else:
            verified = await self._ask("proof", lambda: provider.verify(presented))
        if self._offline:
            return
        identity = told.identity = self._take("identity", lambda: provider.identify(verified))
        tenant = told.tenant = await self._ask("tenant", lambda: gate._directory.assign(identity))
        await self._ask("tenant is served", lambda: gate._directory.admit(tenant))
        policy = gate._policy
        told.user = policy.context(verified, identity, tenant)
        sources = {"the credential": identity.permissions, "MCP_HTTP_DEFAULT_PERMISSIONS": policy.default}
        sources |= {f"the role {role}": policy.by_role[role] for role in identity.roles if role in policy.by_role}
        told.granted = {name: sorted(granted) for name, granted in sources.items() if granted}

    def _peek(self, credential: Credential) -> None:
        """What a JWT says of itself, for people to read: a refusal here is the next step's to raise."""
        try:
            token = parse_jws(credential.secret)
            self._told.claims = parse_claims(token)
            self._told.token = token
        except Refusal:
            return

    async def _look_into(self, presented: Presented, token: UnverifiedToken, verifier: JwtVerifier) -> None:
        """Every check of a JWT, also those after the first that fails: one round mends all."""
        told, now, claims = self._told, self._clock.now(), presented.claims or {}
        for name, check in verifier.checks:
            text = about(name, token, claims, verifier.rules, now)
            try:
                check(token, claims, now)
                told.step(name, "passed", text)
            except Refusal as refusal:
                told.step(name, "refused", text, refusal.reason)
        if self._offline:
            told.step("signature", "skipped", "not looked at (--offline): anybody can have written this token")
        elif token.algorithm not in verifier.rules.algorithms:
            told.step("signature", "skipped", "not looked at, because of its algorithm")
        else:
            await self._prove(token, verifier)

    async def _prove(self, token: UnverifiedToken, verifier: JwtVerifier) -> None:
        told = self._told
        try:
            await verifier.prove(token)
            told.step("signature", "passed", f"made by the issuer's key {shown(token.kid)}")
        except Refusal as refusal:
            text = REASONS[refusal.reason].description
            outcome: Outcome = "unknown" if isinstance(refusal, Unavailable) else "refused"
            told.step("signature", outcome, f"{text} (kid {shown(token.kid)})", refusal.reason)

    def _take(self, name: str, work: Callable[[], Any]) -> Any:
        try:
            value = work()
        except Refusal as refusal:
            self._failed(name, refusal)
            raise
        self._told.step(name, "passed", _passed(value))
        return value

    async def _ask(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        before = len(self._witness.asked)
        try:
            value = await work()
        except Refusal as refusal:
            self._failed(name, refusal, self._witness.asked[before:])
            raise
        self._told.step(name, "passed", "; ".join([*self._witness.asked[before:], *filter(None, [_passed(value)])]))
        return value

    def _failed(self, name: str, refusal: Refusal, asked: list[str] | None = None) -> None:
        words = "not asked (--offline)" if self._offline and isinstance(refusal, Unavailable) else refusal.description
        outcome: Outcome = "unknown" if isinstance(refusal, Unavailable) else "refused"
        said = [] if self._offline else asked or []
        self._told.step(name, outcome, "; ".join([*said, words]), refusal.reason)


def _passed(value: Any) -> str:
    if isinstance(value, Presented):
        return f"{value.provider}, and nobody else is shown it"
    if isinstance(value, Identity):
        return value.user_id
    if isinstance(value, Tenant):
        return f"{value.tenant_id}, {_EVIDENCE[value.source]}{f' ({value.evidence})' if value.evidence else ''}"
    return ""


_EVIDENCE = {
    "key": "from the key's own record",
    "rule": "from the rule that matches",
    "organization": "from the organisation in the token",
    "domain": "from a domain that the provider vouches for",
    "mapping": "from MCP_HTTP_TENANT_MAPPING or `tenantry tenants map`",
    "personal": "a tenant of this one person: the credential names no organisation",
}
