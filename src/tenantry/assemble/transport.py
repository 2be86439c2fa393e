"""Settings -> the HTTP around the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..adapters.forwarded import Proxies
from ..adapters.front import Front
from ..adapters.health import LIVE, READY, Health
from ..adapters.https import HttpsOnly
from ..adapters.response_headers import SecurityHeaders
from ..adapters.tracing import Tracing
from ..adapters.transport import Transport
from ..core.metadata import resources
from ..gate import Gate
from ..outside import Outside
from ..possession import Possession
from ..providers.base import Provider
from ..settings import Settings

if TYPE_CHECKING:
    from ..adapters.metrics import Metrics
    from ..adapters.postgres.database import Database


def front_from(
    settings: Settings,
    gate: Gate,
    outside: Outside,
    health: Health,
    *,
    check: Callable[[], None] | None,
    metrics: Metrics | None,
    database: Database | None,
) -> Front:
    """What a request meets before and behind the gate."""
    paths = settings.mcp_paths
    required = not settings.development if settings.require_https is None else settings.require_https
    return Front(
        gate,
        _transport(settings, gate.providers.values(), gate.possession),
        outside.clock,
        outside.observe,
        proxies=Proxies(settings.trusted_proxies or (), settings.client_address_header),
        https=HttpsOnly(settings.public_url, {LIVE, READY}) if required else None,
        headers=SecurityHeaders(
            settings.security_headers, hsts_max_age=settings.hsts_max_age, hsts_preload=settings.hsts_preload
        ),
        health=health,
        check=check,
        tracing=Tracing(),
        metrics=metrics,
        resources=_resources(database),
        mcp_paths=None if paths is None else frozenset(path.rstrip("/").lower() for path in paths),
        endpoints=frozenset(path.rstrip("/") for path in (urlsplit(settings.resource).path, *(paths or ()))) - {""},
        max_body=settings.max_body,
        leeway=settings.clock_skew,
    )


def _resources(database: Database | None) -> Mapping[ContextVar[Any], Any]:
    """What tools find in context variables during a request."""
    if database is None:
        return {}
    from ..adapters.postgres.current import current_database

    return {current_database: database}


def _transport(settings: Settings, providers: Iterable[Provider], possession: Possession) -> Transport:
    parts = urlsplit(settings.resource)
    own_origin = f"{parts.scheme}://{parts.netloc}".lower()
    hosts = {name.lower() for name in settings.allowed_hosts or ()}
    if settings.public_url is not None or settings.development:
        default_port = {"https": ":443", "http": ":80"}[parts.scheme]
        hosts |= {parts.netloc.lower(), parts.netloc.lower() + ("" if parts.port else default_port)}
    origins = {own_origin, *(settings.allowed_origins or ()), *(settings.cors_origins or ())}
    return Transport(
        resource=settings.resource if settings.oauth else None,
        resources=resources(settings.resource, [path.rstrip("/") for path in settings.mcp_paths or ()]),
        authorization_servers=list(
            dict.fromkeys(url for provider in providers for url in provider.authorization_servers)
        ),
        scopes=settings.default_permissions or (),
        dpop=possession.algorithms,
        dpop_required=all(possession.requires(provider.name) for provider in providers),
        hosts=frozenset(hosts) or None,
        origins=frozenset(origin.lower() for origin in origins),
        exempt_paths=frozenset(settings.exempt_paths or ()),
        loopback=settings.development,
        development=settings.development,
    )
