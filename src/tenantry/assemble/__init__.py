"""Settings -> Gate and what is around it: the only wiring. Read it to see what talks to what."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pydantic import SecretStr

from ..adapters.front import Front
from ..adapters.health import Health
from ..adapters.http import HttpFetch
from ..adapters.memory import MemoryQuotaStore, OpenDirectory
from ..calls import CallPolicy
from ..core.policy import Policy
from ..core.tenancy import tenant_rules
from ..gate import Gate
from ..observations import ConfigurationLoaded
from ..outside import Outside
from ..parts import Parts
from ..ports import Observer, QuotaStore, TenantDirectory
from ..providers.budget import Budgets
from ..quotas import Quotas
from ..settings import Settings
from ..settings.rules import insecure
from ..static_keys import read_api_keys
from ..strangers import Strangers
from ..verdicts import VerdictCache
from .possession import possession_from
from .providers import key_store, providers_from, routes_between
from .transport import front_from

if TYPE_CHECKING:
    from ..adapters.audit import Audit
    from ..adapters.metrics import Metrics
    from ..adapters.postgres.database import Database
    from ..core.rules import Rules

__all__ = ["Assembly", "Outside", "assemble"]


@dataclass(frozen=True, slots=True)
class Assembly:
    """Everything made from one ``Settings``; ``start`` and ``aclose`` are for its lifetime."""

    settings: Settings
    outside: Outside
    parts: Parts
    gate: Gate
    front: Front
    database: Database | None
    verdicts: VerdictCache

    def start(self) -> None:
        """Make the HTTP client and begin fetching keys; a provider that is down does not keep the server down."""
        if isinstance(self.outside.fetch, HttpFetch):
            self.outside.fetch.open()
        self.parts.start()

    async def aclose(self, after: Assembly | None = None) -> None:
        """Close what is not of ``after`` too, which takes the place of this one."""
        if self.database is not None:
            self.database.on_change.remove(self.verdicts.forget_admissions)
        await self.gate.aclose()
        await self.front.aclose()
        await self.parts.aclose(after.parts if after else None)
        if after is None and isinstance(self.outside.fetch, HttpFetch):
            await self.outside.fetch.aclose()


def assemble(
    settings: Settings,
    outside: Outside | None = None,
    *,
    rules: Rules | None = None,
    before: Assembly | None = None,
) -> Assembly:
    """The gate and what is around it, as ``settings`` describe them. ``rules`` take the place of those in a file;
    ``before`` is the assembly that this one follows, whose unchanged parts go on. Raises ``ConfigurationError``."""
    outside = before.outside if before else (outside or Outside.real(settings)).shared()
    parts = Parts(before.parts if before else None)
    keys = read_api_keys(settings)
    database = _database(settings, parts)
    audit = _audit(settings, database, outside.observe, parts)
    metrics = _metrics(settings, parts)
    providers = providers_from(settings, key_store(keys, database), outside, parts)
    version = _version(settings)
    budgets = Budgets.of(providers)
    verdicts = parts.get("verdicts", version, lambda: _verdicts(settings, outside, budgets, version))
    quotas = _quotas(settings, database, outside, parts)
    rules = rules or _rules(settings)
    anonymous = settings.rate_limit_anonymous
    _check_weights(rules, quotas)
    possession = possession_from(settings, outside, parts)
    calls = CallPolicy(rules, settings.anonymous_methods or (), naming=audit is not None)
    gate = Gate(
        providers,
        routes=routes_between(providers, keys, possession.providers),
        directory=_directory(settings, database),
        policy=_policy(settings),
        quotas=quotas,
        strangers=parts.get("strangers", anonymous, lambda: Strangers(outside.clock, anonymous)),
        calls=calls,
        possession=possession,
        budgets=budgets,
        verdicts=verdicts,
        observe=outside.observe,
    )
    if database is not None:
        database.on_change.append(verdicts.forget_admissions)
    checks = {} if database is None else {"database": database.registry.epoch}
    health = Health(checks, outside.clock, outside.observe, budgets=budgets)
    front = front_from(
        settings,
        gate,
        outside,
        health,
        check=None if audit is None else audit.check,
        metrics=metrics,
        database=database,
    )
    made = Assembly(settings, outside, parts, gate, front, database, verdicts)
    outside.tell(metrics, None if audit is None else audit.observe)
    for warning in insecure(settings):
        outside.observe(warning)
    policy = b"" if settings.policy_file is None else settings.policy_file.read_bytes()
    loaded = hashlib.sha256(version + policy).hexdigest()[:16]
    outside.observe(ConfigurationLoaded(loaded, reloaded=before is not None))
    return made


def _database(settings: Settings, parts: Parts) -> Database | None:
    """The tenant database; its driver is imported only where one is configured."""
    if settings.database_connection_string is None:
        return None
    from ..adapters.postgres.configured import DATABASE_SETTINGS, database_from

    made_from = settings.model_dump(include=DATABASE_SETTINGS)
    return parts.get("database", made_from, lambda: database_from(settings))


def _audit(settings: Settings, database: Database | None, observe: Observer, parts: Parts) -> Audit | None:
    if settings.audit_sinks is None:
        return None
    from ..adapters.audit import AUDIT_SETTINGS, make_audit

    made_from = (settings.model_dump(include=AUDIT_SETTINGS), database)
    return parts.get("audit", made_from, lambda: make_audit(settings, database, observe))


def _metrics(settings: Settings, parts: Parts) -> Metrics | None:
    if settings.metrics == "off":
        return None
    from ..adapters.metrics import Metrics

    return parts.get("metrics", settings.metrics, lambda: Metrics(settings.metrics))


def _rules(settings: Settings) -> Rules | None:
    if settings.policy_file is None and settings.tool_permissions is None:
        return None
    from ..policy_file import load_rules

    return load_rules(settings)


def _check_weights(rules: Rules | None, quotas: Quotas) -> None:
    """A call that weighs more than a bucket holds could never be made."""
    for rule in rules or ():
        if quotas.smallest is not None and rule.weight > quotas.smallest:
            raise rule.wrong(
                f"has the weight {rule.weight}, more than the smallest rate limit ({quotas.smallest}) holds"
            )


def _quotas(settings: Settings, database: Database | None, outside: Outside, parts: Parts) -> Quotas:
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    made_from = (settings.rate_limit_store, url, database)
    store = parts.get("quotas", made_from, lambda: _quota_store(settings, database, outside))
    return Quotas(
        store,
        tenant=settings.rate_limit_tenant,
        user=settings.rate_limit_user,
        api_key=settings.rate_limit_api_key,
        on_error=settings.rate_limit_on_error,
        observe=outside.observe,
    )


def _quota_store(settings: Settings, database: Database | None, outside: Outside) -> QuotaStore:
    if settings.rate_limit_store == "postgres" and database is not None:
        from ..adapters.postgres.quota_store import PostgresQuotaStore

        return PostgresQuotaStore(database)
    if settings.rate_limit_store == "redis" and settings.redis_url is not None:
        from ..adapters.redis_quotas import RedisQuotaStore

        return RedisQuotaStore(settings.redis_url.get_secret_value())
    return MemoryQuotaStore(outside.clock)


def _directory(settings: Settings, database: Database | None) -> TenantDirectory:
    """Without a database nothing is made for a tenant, so every derived one is served."""
    rules = tenant_rules(
        settings.tenant_mapping or {},
        settings.personal_domains,
        settings.allowed_domains or (),
        settings.public_mail_domains or (),
    )
    if database is None:
        return OpenDirectory(rules)
    from ..adapters.postgres.directory import RegistryDirectory

    return RegistryDirectory(database, rules, settings.provisioning)


def _policy(settings: Settings) -> Policy:
    roles = settings.role_permissions or {}
    return Policy(
        default=frozenset(settings.default_permissions or ()),
        by_role={role: frozenset(permissions) for role, permissions in roles.items()},
    )


def _verdicts(settings: Settings, outside: Outside, budgets: Budgets, version: bytes) -> VerdictCache:
    ttl, size = settings.token_cache_ttl, settings.token_cache_size
    longer = partial(budgets.kept_longer, ttl=ttl)
    return VerdictCache(outside.clock, version, ttl=ttl, size=size, longer=longer, grace=settings.outage_grace)


def _version(settings: Settings) -> bytes:
    """Changes with everything that a cached proof depends on, secrets included, however deep."""
    return hashlib.sha256(json.dumps(settings.model_dump(), default=_revealed).encode()).digest()


def _revealed(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
