"""What the entries of MCP_HTTP_INTROSPECTION_PROVIDERS must be together, and beside the other settings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..core.matching import OpaqueTokens
from ..errors import ConfigurationError
from .rules import is_loopback_url

if TYPE_CHECKING:
    from . import Settings
    from .introspection import IntrospectionEntry


def check_introspection(settings: Settings) -> None:
    """Raise ``ConfigurationError``, naming entry and member, for the first rule that does not hold."""
    entries = settings.introspection_providers or ()
    names = {entry.name: "MCP_HTTP_OIDC_PROVIDERS" for entry in settings.oidc_providers or ()}
    for entry in entries:
        if entry.name in names:
            raise entry.refuse("name", f"an entry of {names[entry.name]} has it")
        names[entry.name] = "this list"
        for member, url in entry.urls():
            _check_url(settings, entry, member, url)
        entry.provider_settings(settings.clock_skew)  # reads the private key
    _check_routes(entries)
    _check_issuers(settings, entries)


def _check_routes(entries: tuple[IntrospectionEntry, ...]) -> None:
    prefixes: dict[str, str] = {}
    others: str | None = None
    for entry in entries:
        for prefix in entry.prefixes or ():
            other = prefixes.setdefault(prefix, entry.name)
            if other != entry.name:
                raise entry.refuse("prefixes", f"{prefix!r} is a prefix of {other!r} already")
        if entry.default and others is not None:
            raise entry.refuse("default", f"{others!r} is the default already")
        others = entry.name if entry.default else others
    try:
        OpaqueTokens(prefixes, others)
    except ConfigurationError as problem:
        raise ConfigurationError(f"MCP_HTTP_INTROSPECTION_PROVIDERS: {problem}") from None


def _check_issuers(settings: Settings, entries: tuple[IntrospectionEntry, ...]) -> None:
    """Who answers for the JWTs of an issuer: one provider."""
    issuers = {
        issuer: entry.name
        for entry in settings.oidc_providers or ()
        for issuer in entry.issuer_settings(settings.clock_skew).issuers
    }
    if settings.auth0_issuer is not None:
        issuers[settings.auth0_issuer] = "auth0"
    for entry in entries:
        if entry.jwt and entry.issuer is not None and issuers.setdefault(entry.issuer, entry.name) != entry.name:
            raise entry.refuse("jwt", f"the JWTs of {entry.issuer!r} are those of {issuers[entry.issuer]!r} already")


def _check_url(settings: Settings, entry: IntrospectionEntry, member: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise entry.refuse(member, "it is not a URL") from None
    query = parts.query and member == "issuer"
    odd = not parts.hostname or query or parts.fragment or "@" in parts.netloc
    if odd or not url.isascii() or not url.isprintable() or " " in url:
        raise entry.refuse(member, "it is not an address of the form https://host/path")
    if parts.scheme != "https" and not (settings.development and is_loopback_url(url)):
        raise entry.refuse(member, "it must be https (http only to 127.0.0.1, in development)")
