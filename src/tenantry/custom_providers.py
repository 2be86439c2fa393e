"""MCP_HTTP_CUSTOM_PROVIDERS: which installed providers are on, and what their code must state before it is.

A package that is installed is no identity source: nothing is loaded but the entry points that the operator names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError
from .provider import Provider, Tools
from .providers.custom import CustomProvider
from .providers.google import ISSUERS
from .settings.oidc import BUILT_IN

if TYPE_CHECKING:
    from .outside import Outside
    from .parts import Parts
    from .settings import Settings

GROUP = "tenantry.providers"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


def check_custom(settings: Settings) -> None:
    """Raise ``ConfigurationError`` for a name that cannot be a provider's here, or is nobody's."""
    asked = {entry.name for entry in settings.introspection_providers or ()}
    taken = {entry.name for entry in settings.oidc_providers or ()} | asked | BUILT_IN
    for name in settings.custom_providers or {}:
        if not _NAME.fullmatch(name):
            raise _refuse(name, "is not of the form [a-z][a-z0-9-]{0,31}")
        if name in taken:
            raise _refuse(name, "is the name of another provider")
        _entry_point(name)


def custom_providers(settings: Settings, outside: Outside, parts: Parts) -> list[CustomProvider]:
    """Those that are on. One whose settings have not changed goes on. Raises ``ConfigurationError``."""
    made = []
    for name, values in (settings.custom_providers or {}).items():
        entry, leeway = _entry_point(name), settings.clock_skew
        make = partial(_provider, entry, values, leeway, outside)
        made.append(parts.get(f"custom:{name}", (entry.value, values, leeway), make))
    return made


def _provider(entry: EntryPoint, values: Mapping[str, Any], leeway: float, outside: Outside) -> CustomProvider:
    tools = Tools.of(entry.name, leeway, outside.fetch, outside.clock, outside.observe)
    return CustomProvider(entry.name, _made(entry, values, tools), outside.clock, outside.observe, leeway)


def _entry_point(name: str) -> EntryPoint:
    """The one that is called so. Looked up, not loaded."""
    installed = entry_points(group=GROUP)
    values = {entry.value: entry for entry in installed if entry.name == name}
    if not values:
        there = ", ".join(sorted(entry.name for entry in installed)) or "none"
        raise _refuse(name, f"is not installed (entry points of the group {GROUP}: {there})")
    if len(values) > 1:
        raise _refuse(name, f"is offered by several packages ({', '.join(sorted(values))}): uninstall all but one")
    return next(iter(values.values()))


def _made(entry: EntryPoint, values: Mapping[str, Any], tools: Tools) -> Provider:
    try:
        foreign = entry.load()(MappingProxyType(deepcopy(dict(values))), tools)
    except ConfigurationError as error:
        raise _refuse(entry.name, str(error).rstrip(".")) from None
    except (Exception, SystemExit) as error:  # its words may quote a secret of its settings
        raise _refuse(entry.name, f"could not be made by {entry.value} ({type(error).__name__})") from None
    if not isinstance(foreign, Provider):
        raise _refuse(entry.name, f"is no tenantry.provider.Provider: {entry.value} returned something else")
    _check(entry.name, foreign)
    return foreign


def _check(name: str, foreign: Provider) -> None:
    for what in ("issuers", "prefixes", "authorization_servers"):
        values = getattr(foreign, what)
        if type(values) is not tuple or not all(type(value) is str and value for value in values):
            raise _refuse(name, f"states {what} that are no tuple of texts")
    if not foreign.issuers and not foreign.prefixes:
        raise _refuse(name, "states neither issuers nor prefixes: no credential would ever reach it")
    for issuer in foreign.issuers:
        if issuer in ISSUERS:
            raise _refuse(name, f"states the issuer {issuer!r}, which is Google's")


def _refuse(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"MCP_HTTP_CUSTOM_PROVIDERS: {name!r} {problem}.")
