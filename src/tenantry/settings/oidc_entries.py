"""Reading MCP_HTTP_OIDC_PROVIDERS: a JSON list of objects, each by its preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from .entry_lists import read_list
from .oidc import GenericEntry, OidcEntry
from .oidc_presets import PRESETS
from .oidc_workloads import WORKLOADS

_ENTRIES = {**PRESETS, **WORKLOADS}


def _model_of(item: Mapping[str, Any]) -> type[OidcEntry]:
    preset = item.get("preset")
    if preset is None:
        return GenericEntry
    if not isinstance(preset, str) or preset not in _ENTRIES:
        raise ValueError(f"member 'preset': there are {', '.join(_ENTRIES)}")
    return _ENTRIES[preset]


def read_entries(value: Any) -> tuple[OidcEntry, ...]:
    """The entries of the list. Raises ``ValueError`` naming the entry and the member, never a value."""
    return read_list(value, OidcEntry, _model_of)


OidcProviders = Annotated[tuple[SerializeAsAny[OidcEntry], ...], BeforeValidator(read_entries)]
